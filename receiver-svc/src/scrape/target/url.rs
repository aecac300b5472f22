//! Builds the URL of a target, formatted as Go's `net/url` does.

use std::fmt::Write as _;

use mesh_model::{config::Params, labels::Labels};

use super::{ADDRESS, METRICS_PATH, PARAM, SCHEME};

/// Returns the URL for the labels of a target and the parameters of its job.
///
/// A `__param_<name>` label replaces the first value of that parameter.
pub(super) fn of(labels: &Labels, params: &Params) -> String {
    let label = |name| labels.get(name).unwrap_or_default();
    let mut params = params.clone();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix(PARAM) else {
            continue;
        };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    let path = label(METRICS_PATH);
    let slash = if path.is_empty() || path.starts_with('/') {
        ""
    } else {
        "/"
    };
    let (scheme, host) = (label(SCHEME), label(ADDRESS));
    let mut url = format!(
        "{scheme}://{}{slash}{}",
        escape(host, is_host_byte),
        escape(path, is_path)
    );
    let pairs = params
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    for (at, (name, value)) in pairs.enumerate() {
        let separator = if at == 0 { '?' } else { '&' };
        let (name, value) = (query(name), query(value));
        // Writing to a string cannot fail.
        let _ = write!(url, "{separator}{name}={value}");
    }
    url
}

fn query(text: &str) -> String {
    escape(text, |byte| byte == b' ').replace(' ', "+")
}

fn is_path(byte: u8) -> bool {
    matches!(
        byte,
        b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'
    )
}

/// Returns true for the bytes that Go leaves in the host of a URL.
pub(super) fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn escape(text: &str, keeps: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if unreserved || keeps(byte) {
            escaped.push(byte as char);
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(labels: &[(&str, &str)], params: &[(&str, &[&str])]) -> String {
        let base = [(SCHEME, "https"), (ADDRESS, "h:1"), (METRICS_PATH, "/m")];
        let labels: Labels = base.iter().chain(labels).copied().collect();
        let params = params.iter().map(|(name, values)| {
            let values = values.iter().map(|value| (*value).to_owned());
            ((*name).to_owned(), values.collect())
        });
        of(&labels, &params.collect())
    }

    #[test]
    fn joins_parameters_of_the_job_and_of_labels() {
        assert_eq!(url(&[], &[]), "https://h:1/m");
        assert_eq!(
            url(
                &[("__param_b", "x y"), ("__param_c", "é")],
                &[("b", &["1", "2"]), ("a", &["ü&="])]
            ),
            "https://h:1/m?a=%C3%BC%26%3D&b=x+y&b=2&c=%C3%A9"
        );
    }

    #[test]
    fn escapes_a_query_in_the_path() {
        assert_eq!(
            url(&[(METRICS_PATH, "a b?c=1;2")], &[]),
            "https://h:1/a%20b%3Fc=1;2"
        );
        assert_eq!(url(&[(ADDRESS, "[::1]:9")], &[]), "https://[::1]:9/m");
    }

    #[test]
    fn escapes_the_address() {
        assert_eq!(
            url(&[(ADDRESS, "u@ü:1?a=b#c")], &[]),
            "https://u%40%C3%BC:1%3Fa=b%23c/m"
        );
        assert_eq!(url(&[(ADDRESS, ":9100")], &[]), "https://:9100/m");
    }
}
