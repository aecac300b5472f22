//! The encoding of configuration and target files.

use std::{borrow::Cow, path::Path};

use crate::config::ConfigError;

/// Reads the YAML file at `path`.
///
/// # Errors
/// Returns an error if the file cannot be read or is not text.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let content = std::fs::read(path).map_err(|error| ConfigError::new(path, None, error))?;
    let text = decode(&content).map_err(|error| error.in_file(path))?;
    Ok(text.into_owned())
}

/// Reason why the content of a file is not text.
#[derive(Debug)]
pub(super) struct NotText {
    /// Line and column of the first byte that is not text, if they can be counted.
    position: Option<(u64, u64)>,
    message: String,
}

/// Decodes the content of a YAML file. A byte order mark distinguishes UTF-16 from UTF-8, as in
/// Go's YAML library; a file without one is UTF-8.
///
/// # Errors
/// Returns an error if the bytes are not text.
pub(super) fn decode(content: &[u8]) -> Result<Cow<'_, str>, NotText> {
    let units = |code_unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = content[2..].as_chunks();
        let units = pairs.iter().map(|pair| code_unit(*pair));
        let text = char::decode_utf16(units).collect::<Result<String, _>>();
        match text {
            Ok(text) if rest.is_empty() => Ok(Cow::Owned(text)),
            _ => Err(NotText {
                position: Some((1, 1)),
                message: "the file starts as UTF-16, but is not, save it as UTF-8".to_owned(),
            }),
        }
    };
    match content {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => utf8(text),
        text => utf8(text),
    }
}

fn utf8(text: &[u8]) -> Result<Cow<'_, str>, NotText> {
    std::str::from_utf8(text)
        .map(Cow::Borrowed)
        .map_err(|error| {
            let before = String::from_utf8_lossy(&text[..error.valid_up_to()]);
            let line = before.rsplit('\n').next().unwrap_or_default();
            let number = 1 + before.matches('\n').count();
            NotText {
                position: Some((number as u64, 1 + line.chars().count() as u64)),
                message: "this is not UTF-8, save the file as UTF-8".to_owned(),
            }
        })
}

// === impl NotText ===

impl NotText {
    /// Turns the reason into an error of the file at `path`.
    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        ConfigError::new(path, self.position, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn decodes_what_a_byte_order_mark_announces() {
        let text = "- targets: [é:1]\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (mark, content) in [
            (&[][..], text.as_bytes()),
            (&[0xef, 0xbb, 0xbf], text.as_bytes()),
            (&[0xff, 0xfe], &little),
            (&[0xfe, 0xff], &big),
        ] {
            assert_eq!(decode(&[mark, content].concat()).unwrap(), text, "{mark:?}");
        }
        for bad in [&b"a\nb\xff"[..], b"\xff\xfea", b"\xff\xfe\x00\xd8"] {
            assert!(
                decode(bad).unwrap_err().message.contains("UTF-8"),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn names_the_place_of_the_first_byte_that_is_no_text() {
        for (content, place) in [
            (&b"a\nb\xff"[..], (2, 2)),
            (b"\xff", (1, 1)),
            ("é\n".as_bytes(), (2, 1)),
        ] {
            let content = [content, b"\xff"].concat();
            assert_eq!(decode(&content).unwrap_err().position, Some(place));
        }
    }
}
