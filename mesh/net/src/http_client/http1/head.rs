//! Parses the head of an HTTP/1 response as Go's client does, and writes it in a form that
//! hyper reads in the same way.
//!
//! hyper refuses heads that devices send, for example folded fields, and accepts some that
//! two readers may frame differently, for example `Content-Length: 5, 5`.

use bytes::{BufMut, BytesMut};
use http::{
    HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, SET_COOKIE, TRAILER, TRANSFER_ENCODING},
};

use super::framing::Framing;

/// Maximum size of a response head in bytes (10 MiB), as in Go.
pub(in super::super) const MAX_BYTES: usize = 10 << 20;
/// Maximum number of fields of a response head, without cookies.
pub(in super::super) const MAX_FIELDS: usize = 4096;
/// Maximum length of a field name that the `http` crate stores.
const MAX_NAME: usize = (1 << 16) - 1;
/// Maximum length of a quotation from a head in an error.
const MAX_QUOTE: usize = 100;

/// Head of a response.
#[derive(Debug)]
pub(super) struct Head {
    /// Status code, 100 to 999.
    pub(super) status: u16,
    /// Length of the body.
    pub(super) framing: Framing,
    /// True if the connection ends with this response.
    closes: bool,
    /// Fields without those that describe the framing.
    fields: Vec<(HeaderName, Vec<u8>)>,
}

/// Finds the end of a head while its bytes arrive.
#[derive(Debug, Default)]
pub(super) struct HeadEnd {
    /// Start of the current line.
    line: usize,
    /// Number of bytes that were searched.
    searched: usize,
}

/// Response head that is malformed or that could be read in two ways.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum HeadError {
    #[error("malformed status line {0:?}, expected HTTP/1.1 200 OK")]
    StatusLine(String),
    #[error("malformed header line {0:?}, expected NAME: VALUE")]
    Line(String),
    #[error("unsupported Transfer-Encoding {0:?}, expected chunked, once")]
    TransferEncoding(String),
    #[error("invalid Content-Length {0:?}, expected one number")]
    ContentLength(String),
    #[error("invalid Trailer {0:?}, expected no field that describes the length of the body")]
    Trailer(String),
    #[error("response head of more than {MAX_FIELDS} fields")]
    TooManyFields,
    #[error("response head of more than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("all large response heads together use more than {0} MiB; try again")]
    NoMemory(usize),
}

// === impl HeadEnd ===

impl HeadEnd {
    /// Returns the length of the head, including the empty line at its end. Returns `None`
    /// if the head is incomplete. `bytes` must start with the bytes of the previous call.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(at) = bytes[self.searched..].iter().position(|b| *b == b'\n') {
            let line = &bytes[self.line..self.searched + at];
            self.searched += at + 1;
            self.line = self.searched;
            if strip_cr(line).is_empty() {
                return Ok(Some(self.searched));
            }
        }
        self.searched = bytes.len();
        if self.searched > MAX_BYTES {
            return Err(HeadError::TooLarge);
        }
        Ok(None)
    }
}

// === impl Head ===

impl Head {
    /// Parses a complete head.
    pub(super) fn parse(head: &[u8]) -> Result<Self, HeadError> {
        let mut lines = head.split(|b| *b == b'\n').map(strip_cr);
        let (version, status) = status_line(lines.next().unwrap_or_default())?;
        let fields = fields(lines)?;
        let values = |name: &HeaderName| -> Vec<&[u8]> {
            let fields = fields.iter().filter(|(other, _)| other == name);
            fields.map(|(_, value)| &value[..]).collect()
        };
        let chunked = version >= (1, 1) && is_chunked(&values(&TRANSFER_ENCODING))?;
        let length = content_length(&values(&CONTENT_LENGTH))?;
        let framing = match (status, length) {
            (100..=199 | 204 | 304, _) => Framing::empty(),
            _ if chunked => Framing::chunked(),
            (_, Some(length)) => Framing::length(length),
            (_, None) => Framing::UntilClose,
        };
        if chunked {
            check_trailer(&values(&TRAILER))?;
        }
        let connection = values(&CONNECTION);
        let closes = match version {
            (0, _) => true,
            (1, 0) => has_token(&connection, "close") || !has_token(&connection, "keep-alive"),
            _ => has_token(&connection, "close"),
        };
        let mut fields = fields;
        // The client keeps no cookies.
        let written = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, SET_COOKIE];
        fields.retain(|(name, _)| !written.contains(name));
        if fields.len() > MAX_FIELDS {
            return Err(HeadError::TooManyFields);
        }
        Ok(Self {
            status,
            framing,
            closes,
            fields,
        })
    }

    /// Returns true for a response that precedes the actual one.
    pub(super) fn is_interim(&self) -> bool {
        (100..=199).contains(&self.status) && self.status != 101
    }

    /// Writes the head for hyper.
    pub(super) fn write(&self, to: &mut BytesMut) {
        to.put_slice(format!("HTTP/1.1 {} \r\n", self.status).as_bytes());
        for (name, value) in &self.fields {
            put_field(to, name.as_str(), value);
        }
        match &self.framing {
            Framing::Length(length) => {
                put_field(to, "content-length", length.to_string().as_bytes());
            }
            Framing::Chunked(_) => put_field(to, "transfer-encoding", b"chunked"),
            Framing::UntilClose => {}
        }
        if self.closes {
            put_field(to, "connection", b"close");
        }
        to.put_slice(b"\r\n");
    }
}

fn put_field(to: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        to.put_slice(part);
    }
}

/// Returns the version and the status. The reason may be missing or contain any bytes.
fn status_line(line: &[u8]) -> Result<((u8, u8), u16), HeadError> {
    let parse = || {
        let (version, rest) = cut(line, b' ')?;
        let &[major, b'.', minor] = version.strip_prefix(b"HTTP/")? else {
            return None;
        };
        let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
        let rest = rest.trim_ascii_start();
        let code = cut(rest, b' ').map_or(rest, |(code, _)| code);
        let &[first @ b'1'..=b'9', second, third] = code else {
            return None;
        };
        let code = [digit(first)?, digit(second)?, digit(third)?];
        let code = code.into_iter().fold(0, |sum, d| sum * 10 + u16::from(d));
        Some(((digit(major)?, digit(minor)?), code))
    };
    parse().ok_or_else(|| HeadError::StatusLine(quote(line)))
}

/// Returns the fields up to the empty line. Skips fields whose names contain blanks, since Go
/// never looks up such a name.
fn fields<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<(HeaderName, Vec<u8>)>, HeadError> {
    let mut fields: Vec<(Option<HeaderName>, Vec<u8>)> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let malformed = || HeadError::Line(quote(line));
        if matches!(line[0], b' ' | b'\t') {
            // A folded line.
            let (_, value) = fields.last_mut().ok_or_else(malformed)?;
            value.push(b' ');
            value.extend_from_slice(value_of(line).ok_or_else(malformed)?);
            continue;
        }
        let (name, value) = cut(line, b':').ok_or_else(malformed)?;
        let value = value_of(value).ok_or_else(malformed)?;
        fields.push((name_of(name).ok_or_else(malformed)?, value.to_vec()));
    }
    let named = fields.into_iter();
    Ok(named.filter_map(|(n, value)| Some((n?, value))).collect())
}

/// Parses a field name. Returns `Some(None)` for a field to skip: its name contains blanks or
/// is too long.
fn name_of(name: &[u8]) -> Option<Option<HeaderName>> {
    if !name.is_empty()
        && name.len() <= MAX_NAME
        && let Ok(name) = HeaderName::from_bytes(name)
    {
        return Some(Some(name));
    }
    let token = |byte: &u8| *byte == b' ' || HeaderName::from_bytes(&[*byte]).is_ok();
    (!name.is_empty() && name.iter().all(token)).then_some(None)
}

/// Returns a value without the blanks around it, or `None` if it has control characters.
fn value_of(value: &[u8]) -> Option<&[u8]> {
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    (!value.iter().any(control)).then(|| trim(value))
}

fn is_chunked(values: &[&[u8]]) -> Result<bool, HeadError> {
    match values {
        [] => Ok(false),
        [one] if one.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(HeadError::TransferEncoding(quote(&values.join(&b", "[..])))),
    }
}

/// Returns the length. An empty one counts as missing.
fn content_length(values: &[&[u8]]) -> Result<Option<u64>, HeadError> {
    let Some((first, rest)) = values.split_first() else {
        return Ok(None);
    };
    let invalid = || HeadError::ContentLength(quote(&values.join(&b" and "[..])));
    if rest.iter().any(|other| other != first) {
        return Err(invalid());
    }
    if first.is_empty() {
        return Ok(None);
    }
    let digits = first.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(first).ok().filter(|_| digits);
    let length = text.and_then(|text| text.parse::<i64>().ok());
    let length = length.ok_or_else(invalid)?;
    Ok(Some(length.unsigned_abs()))
}

fn check_trailer(values: &[&[u8]]) -> Result<(), HeadError> {
    let forbidden = [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER];
    for name in &forbidden {
        if has_token(values, name.as_str()) {
            return Err(HeadError::Trailer(quote(&values.join(&b", "[..]))));
        }
    }
    Ok(())
}

fn has_token(values: &[&[u8]], token: &str) -> bool {
    let mut tokens = values.iter().flat_map(|value| value.split(|b| *b == b','));
    tokens.any(|found| trim(found).eq_ignore_ascii_case(token.as_bytes()))
}

fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn cut(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Removes blanks and tabs at both ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn quote(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_QUOTE)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a head and returns what hyper gets, with `|` for line ends.
    fn written(head: &[u8]) -> Result<String, HeadError> {
        let mut end = HeadEnd::default();
        assert_eq!(end.find(head).unwrap(), Some(head.len()), "{head:?}");
        let mut bytes = BytesMut::new();
        Head::parse(head)?.write(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches("\r\n").replace("\r\n", "|"))
    }

    #[test]
    fn accepts_the_status_lines_that_go_accepts() {
        for (line, expected) in [
            (&b"HTTP/1.1 200 OK"[..], "HTTP/1.1 200 "),
            (b"HTTP/1.1 200", "HTTP/1.1 200 "),
            (b"HTTP/1.1 200 ", "HTTP/1.1 200 "),
            (b"HTTP/1.1  200 \xd6k", "HTTP/1.1 200 "),
            (b"HTTP/1.2 600 X", "HTTP/1.1 600 "),
            (b"HTTP/2.0 200 OK", "HTTP/1.1 200 "),
            (b"HTTP/1.0 200 OK", "HTTP/1.1 200 |connection: close"),
            (b"HTTP/0.9 200 OK", "HTTP/1.1 200 |connection: close"),
        ] {
            let head = [line, b"\r\n\r\n"].concat();
            assert_eq!(written(&head).as_deref(), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn refuses_other_status_lines() {
        for line in [
            "",
            "a 1",
            "ICY 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1\t200 OK",
            "HTTP/11 200 OK",
            "HTTP/1.x 200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 0200 OK",
            "HTTP/1.1 2x0 OK",
            "HTTP/1.1 099 OK",
        ] {
            let head = format!("{line}\n\n");
            let error = Head::parse(head.as_bytes()).unwrap_err();
            assert_eq!(error, HeadError::StatusLine(line.to_owned()));
        }
    }

    #[test]
    fn reads_fields_as_go_does() {
        for (fields, expected) in [
            ("A: b", "a: b"),
            ("A:b \t", "a: b"),
            ("A:", "a: "),
            ("A: ü", "a: ü"),
            ("A: text;\r\n version=1\r\n\t x", "a: text; version=1 x"),
            ("A: b\r\n \r\nC: d", "a: b |c: d"),
            // Fields to skip.
            ("A : b\r\nC: d", "c: d"),
            ("A B: b\r\n c\r\nC: d", "c: d"),
            ("Set-Cookie: a\r\nC: d", "c: d"),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            let expected = format!("HTTP/1.1 200 |{expected}");
            assert_eq!(written(head.as_bytes()), Ok(expected), "{fields:?}");
        }
        for line in [
            ": b", "garbage", " A: b", "A@: b", "Ä: b", "A: b\0c", "A: b\x01", "A: b\rc", "A: b\r",
            "A: \x7f",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
            let error = Head::parse(head.as_bytes()).unwrap_err();
            assert_eq!(error, HeadError::Line(line.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn frames_the_body_as_go_does() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\nContent-Length: 5", "content-length: 5"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length:  5 ",
                "content-length: 5",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length:", ""),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: Chunked",
                "transfer-encoding: chunked",
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\nConnection: Keep-Alive",
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: a, CLOSE",
                "content-length: 5|connection: close",
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5",
                "content-length: 0",
            ),
        ] {
            let got = written(format!("{head}\r\n\r\n").as_bytes()).unwrap();
            let rest = got.split_once(" |").map_or("", |(_, rest)| rest);
            assert_eq!(rest, expected, "{head:?}");
        }
    }

    #[test]
    fn refuses_ambiguous_lengths() {
        for fields in [
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -1",
            "Content-Length: 0x5",
            "Content-Length: 9223372036854775808",
            "Transfer-Encoding: chunked\r\nTrailer: a, Content-Length",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert!(Head::parse(head.as_bytes()).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn finds_the_end_wherever_the_bytes_are_cut() {
        let head = b"HTTP/1.1 200 OK\r\nA: b\n\r\nbody\n\n";
        for first in 0..head.len() {
            let mut end = HeadEnd::default();
            let found = end.find(&head[..first]).unwrap();
            let found = found.or_else(|| end.find(head).unwrap());
            assert_eq!(found, Some(head.len() - b"body\n\n".len()));
        }
    }

    #[test]
    fn bounds_the_head() {
        let mut end = HeadEnd::default();
        let endless = vec![b'a'; MAX_BYTES + 1];
        assert_eq!(end.find(&endless[..MAX_BYTES]), Ok(None));
        assert_eq!(end.find(&endless), Err(HeadError::TooLarge));
        let fields = |count: usize| {
            let lines = (0..count).map(|i| format!("X-{i}: 1\r\n"));
            let lines: String = lines.collect();
            Head::parse(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes())
        };
        assert!(fields(MAX_FIELDS).is_ok());
        assert_eq!(
            fields(MAX_FIELDS + 1).unwrap_err(),
            HeadError::TooManyFields
        );
    }
}
