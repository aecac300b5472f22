//! Words the errors of the protobuf library for users, who do not know the library.

use prost::DecodeError;

/// Text that the library puts before every error.
const PREFIX: &str = "failed to decode Protobuf message: ";

/// Descriptions of the library, and those for users.
const WORDS: [(&str, &str); 7] = [
    ("buffer underflow", "the message ends inside the field"),
    (
        "delimited length exceeded",
        "the field is longer than its message",
    ),
    (
        "invalid varint",
        "a varint is truncated or longer than ten bytes",
    ),
    ("invalid tag value: 0", "field number 0 is not allowed"),
    ("recursion limit reached", "messages are nested too deeply"),
    (
        "unexpected end group tag",
        "a group ends that did not begin",
    ),
    ("invalid wire type: ", "the field has the wrong wire type: "),
];

/// Describes an error: the path of the field, and what is wrong with it.
pub(super) fn describe(error: &DecodeError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix(PREFIX).unwrap_or(&text);
    let known = WORDS.iter().find_map(|(theirs, ours)| {
        let (path, rest) = text.split_once(theirs)?;
        Some(format!("{path}{ours}{rest}"))
    });
    known.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use prost::Message;

    use super::*;

    #[test]
    fn errors_have_no_words_of_the_library() {
        for (bytes, expected) in [
            (vec![0x0a], "a varint is truncated"),
            (vec![0x0a, 0x05], "ends inside the field"),
            (vec![0x08, 0x01], "the wrong wire type: Varint (expected"),
            (vec![0x00, 0x00], "field number 0"),
            (vec![0xff; 11], "a varint is truncated"),
        ] {
            let error = ExportMetricsServiceRequest::decode(&*bytes).unwrap_err();
            let text = describe(&error);
            assert!(text.contains(expected), "{bytes:?}: {text}");
            assert!(!text.contains("Protobuf message"), "{text}");
        }
    }
}
