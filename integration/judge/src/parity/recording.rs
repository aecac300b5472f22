//! Recorded bodies: `<source>/<number>.<kind>.body`, with a `meta.json` that tells
//! each one's content type. A kind is an Accept header that the source was asked
//! with.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use bytes::Bytes;
use serde::Deserialize;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// One answer of a source.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Its `Content-Type`, where it had one.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Bytes,
}

/// What a source answered to one Accept header again and again.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Who answered.
    pub source: String,
    /// What it was asked for.
    pub kind: String,
    /// Its answers, in their order.
    pub captures: Vec<Capture>,
}

#[derive(Default, Deserialize)]
struct Meta {
    captures: Vec<CaptureMeta>,
}

#[derive(Deserialize)]
struct CaptureMeta {
    file: String,
    content_type: Option<String>,
}

/// Reads all recordings of a folder.
///
/// # Errors
/// Where it has none, or one cannot be read.
pub(super) fn load(folder: &Path) -> anyhow::Result<Vec<Recording>> {
    let mut recordings = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            recordings.extend(load_source(&path).with_context(|| path.display().to_string())?);
        }
    }
    anyhow::ensure!(
        !recordings.is_empty(),
        "{}: no recordings, expected <source>/<number>.<kind>.body",
        folder.display()
    );
    recordings.sort_by(|a, b| (&a.source, &a.kind).cmp(&(&b.source, &b.kind)));
    Ok(recordings)
}

fn load_source(folder: &Path) -> anyhow::Result<Vec<Recording>> {
    let source = folder.file_name().unwrap_or_default().to_string_lossy();
    let meta: Meta = match fs::read(folder.join("meta.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("meta.json")?,
        Err(_) => Meta::default(),
    };
    let types: BTreeMap<_, _> = meta
        .captures
        .into_iter()
        .map(|capture| (capture.file, capture.content_type))
        .collect();
    let mut kinds: BTreeMap<String, BTreeMap<u64, Capture>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((number, kind)) = name(&file) else {
            continue;
        };
        let body = Bytes::from(fs::read(&path)?);
        let content_type = match types.get(&*file) {
            Some(given) => given.clone(),
            None => Some(usual_type(kind, &body).to_owned()),
        };
        let capture = Capture { content_type, body };
        kinds
            .entry(kind.to_owned())
            .or_default()
            .insert(number, capture);
    }
    let recordings = kinds.into_iter().map(|(kind, captures)| Recording {
        source: source.clone().into_owned(),
        kind,
        captures: captures.into_values().collect(),
    });
    Ok(recordings.collect())
}

/// Number and kind of a file with a body.
fn name(file: &str) -> Option<(u64, &str)> {
    let (number, kind) = file.strip_suffix(".body")?.split_once('.')?;
    Some((number.parse().ok()?, kind))
}

/// What a body is where nobody says.
fn usual_type(kind: &str, body: &[u8]) -> &'static str {
    if kind.starts_with("proto") {
        PROTOBUF
    } else if body.trim_ascii_end().ends_with(b"# EOF") {
        OPEN_METRICS
    } else {
        TEXT
    }
}

// === impl Capture ===

impl Capture {
    pub(super) fn is_openmetrics(&self) -> bool {
        self.is("openmetrics")
    }

    fn is(&self, format: &str) -> bool {
        let content_type = self.content_type.as_deref();
        content_type.is_some_and(|content_type| content_type.contains(format))
    }

    /// The first half of its families, a body as whole as before.
    pub(super) fn half(&self) -> Bytes {
        if self.is("protobuf") {
            return self.body.slice(..half_of_messages(&self.body));
        }
        let mut half = half_of_lines(&self.body).to_vec();
        if self.is_openmetrics() {
            half.extend_from_slice(b"# EOF\n");
        }
        half.into()
    }
}

/// The lines before the first comment in the second half: families are not torn.
fn half_of_lines(body: &[u8]) -> &[u8] {
    let middle = body.len() / 2;
    let family = body[middle..].windows(2).position(|pair| pair == b"\n#");
    match family {
        Some(at) => &body[..=middle + at],
        None => &[],
    }
}

/// Where the message begins that is in the middle of messages which each have
/// their length before them.
fn half_of_messages(body: &[u8]) -> usize {
    let mut rest = body;
    while body.len() - rest.len() < body.len() / 2 {
        let Ok(len) = prost::decode_length_delimiter(&mut rest) else {
            break;
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    body.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_body_is_whole_families() {
        let half = |content_type: &str, body: &[u8]| {
            let capture = Capture {
                content_type: Some(content_type.to_owned()),
                body: Bytes::copy_from_slice(body),
            };
            capture.half().to_vec()
        };
        let text = b"# TYPE a gauge\na 1\n# TYPE b gauge\nb{x=\"1\"} 2\nb 2\n# TYPE c gauge\nc 3\n";
        assert_eq!(half(TEXT, text), text[..text.len() - 19]);
        let open = half(OPEN_METRICS, &[text.as_slice(), b"# EOF\n"].concat());
        assert!(open.ends_with(b"b 2\n# EOF\n"), "{open:?}");
        assert_eq!(half(PROTOBUF, &[2, 9, 9, 3, 7, 7, 7]), [2, 9, 9]);
        assert_eq!(half(PROTOBUF, &[3, 9, 9, 9, 2, 7, 7]), [3, 9, 9, 9]);
    }

    #[test]
    fn recordings_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("app");
        fs::create_dir(&source).unwrap();
        for (file, body) in [
            ("10.text.body", "b 2\n"),
            ("2.text.body", "b 1\n"),
            ("1.om.body", "# EOF\n"),
            ("1.om.entries.jsonl", ""),
        ] {
            fs::write(source.join(file), body).unwrap();
        }
        let found = load(folder.path()).unwrap();
        let kinds: Vec<_> = found.iter().map(|r| (&*r.kind, r.captures.len())).collect();
        assert_eq!(kinds, [("om", 1), ("text", 2)]);
        assert_eq!(
            found[0].captures[0].content_type.as_deref(),
            Some(OPEN_METRICS)
        );
        assert_eq!(found[1].captures[1].body, "b 2\n");
        assert!(load(&source).is_err());
    }
}
