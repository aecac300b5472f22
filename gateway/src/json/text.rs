//! Finds text in JSON that is not valid Unicode.

/// Returns true if a body is not UTF-8 or has an escape of a lone surrogate.
pub(super) fn has_invalid(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_err() || has_lone_surrogate(body)
}

fn has_lone_surrogate(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        rest = &rest[at..];
        rest = match (
            code_unit(rest),
            code_unit(rest.get(6..).unwrap_or_default()),
        ) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => &rest[12..],
            (Some(0xd800..=0xdfff), _) => return true,
            (Some(_), _) => &rest[6..],
            // Another escape, of one character.
            (None, _) => rest.get(2..).unwrap_or_default(),
        };
    }
    false
}

/// Reads the escape of a UTF-16 code unit, such as `\ud83d`.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_bytes_and_escapes_that_are_no_text() {
        for (body, expected) in [
            (&br#"{"a": "caf\u00e9 \ud83d\ude00 \n"}"#[..], false),
            (br#"{"a": "\ud83d"}"#, true),
            (br#"{"a": "\uDE00"}"#, true),
            (br#"{"a": "\ud83d\ud83d\ude00"}"#, true),
            (br#"{"a": "\ud83d \ude00"}"#, true),
            // An escaped backslash before a u.
            (br#"{"a": "\\ud83d"}"#, false),
            (br#"{"a": "\ud8"#, false),
            (br#"{"a": "\"#, false),
            (b"{\"a\": \"caf\xe9\"}", true),
        ] {
            let text = String::from_utf8_lossy(body);
            assert_eq!(has_invalid(body), expected, "{text}");
        }
    }
}
