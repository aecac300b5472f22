//! Recorded bodies: `<source>/<number>.<kind>.body`. A file `meta.json` contains their
//! content types. Each kind stands for an Accept header of the recording.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use bytes::Bytes;
use serde::Deserialize;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// One response of a source.
#[derive(Clone, Debug)]
pub struct Capture {
    /// `Content-Type` header.
    pub content_type: Option<String>,
    /// Body.
    pub body: Bytes,
}

/// Responses of a source to repeated requests with the same Accept header.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Name of the source.
    pub source: String,
    /// Kind, which stands for the Accept header.
    pub kind: String,
    /// Responses, in order.
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
/// Returns an error if the folder has none, or one cannot be read.
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
            None => Some(default_content_type(kind, &body).to_owned()),
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

/// Number and kind in the name of a body's file.
fn name(file: &str) -> Option<(u64, &str)> {
    let (number, kind) = file.strip_suffix(".body")?.split_once('.')?;
    Some((number.parse().ok()?, kind))
}

/// Content type of a body that `meta.json` does not contain.
fn default_content_type(kind: &str, body: &[u8]) -> &'static str {
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

    /// Body with the first half of the families. It is valid like the whole one.
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

/// Lines up to the first comment in the second half, so that no family is split.
fn half_of_lines(body: &[u8]) -> &[u8] {
    let middle = body.len() / 2;
    let family = body[middle..].windows(2).position(|pair| pair == b"\n#");
    match family {
        Some(at) => &body[..=middle + at],
        None => &[],
    }
}

/// Offset of the message in the middle of length-delimited messages.
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
    fn half_a_body_contains_whole_families() {
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
    fn finds_recordings_by_name() {
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
