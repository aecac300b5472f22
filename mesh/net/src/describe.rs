//! Describes failed requests in the words of Go programs, which users of Prometheus know.
//!
//! hyper, rustls and h2 address programmers, for instance "client error (Connect): tcp connect
//! error: Connection refused (os error 111)". [`describe`] prints "connection refused". All
//! messages about scrapes, discovery, remote write and connections to exporters come from here.

use std::{error::Error, io};

use hyper_util::client::legacy;
use mesh_base::error::causes;

use crate::{
    http_client::{HttpClientError, TransportError},
    tls,
};

/// Contribution of one error to the description of the errors around it.
enum Part {
    /// Wrapper that says nothing beyond its cause.
    Skip,
    /// A text that precedes the cause's.
    Before(String),
    /// A text that describes the causes too.
    Last(String),
}

/// Describes an error and its causes in plain words.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let (text, is_last) = match part(cause) {
            Part::Skip => continue,
            Part::Before(text) => (text, false),
            Part::Last(text) => (text, true),
        };
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        if is_last {
            break;
        }
    }
    if parts.is_empty() {
        return error.to_string();
    }
    parts.join(": ")
}

fn part(error: &(dyn Error + 'static)) -> Part {
    if error.is::<HttpClientError>() || error.is::<TransportError>() {
        return Part::Last(error.to_string());
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Part::Last(tls::words(error));
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return http2(error);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return http(error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return io(error);
    }
    if error.is::<legacy::Error>() && error.source().is_some() {
        return Part::Skip;
    }
    let text = error.to_string();
    // Private types of hyper-util. Their causes say it all.
    let wraps = ["tcp connect error", "dns error"].contains(&text.as_str())
        || text.ends_with("failed to create underlying connection");
    if wraps && error.source().is_some() {
        return Part::Skip;
    }
    if let Some(problem) = text.strip_prefix("tunnel error: ") {
        return Part::Before(tunnel(problem).to_owned());
    }
    Part::Before(text)
}

/// Describes an error of hyper's connector for CONNECT.
fn tunnel(problem: &str) -> &str {
    match problem {
        "unsuccessful" => "the proxy refused CONNECT",
        "proxy authorization required" => {
            "the proxy requires authentication (407); put USER:PASSWORD@ into proxy_url"
        }
        "unexpected end of file" => "the proxy closed the connection",
        "io error establishing tunnel" => "CONNECT",
        other => other,
    }
}

fn io(error: &io::Error) -> Part {
    let inner = error.get_ref();
    if let (io::ErrorKind::TimedOut, false) = (error.kind(), is_explained(inner)) {
        return Part::Last("i/o timeout".to_owned());
    }
    match inner {
        Some(inner) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let text = inner.to_string();
            Part::Last(match text.contains("handshake") {
                true => "EOF: the server closed the connection during the TLS handshake".to_owned(),
                false => "unexpected EOF: the server closed the connection too early".to_owned(),
            })
        }
        Some(_) => Part::Skip,
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Part::Last("unexpected EOF: the server closed the connection too early".to_owned())
        }
        None => Part::Last(system(error)),
    }
}

/// Returns true if an error has a cause of its own that describes it.
fn is_explained(inner: Option<&(dyn Error + Send + Sync + 'static)>) -> bool {
    inner.is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<io::Error>())
}

/// Returns the system's text of an error, without its number: "connection refused".
fn system(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

fn http(error: &hyper::Error) -> Part {
    if error.is_timeout() {
        return Part::Last("timeout: the server did not respond to an HTTP/2 ping".to_owned());
    }
    if error.is_incomplete_message() {
        let text = "EOF: the server closed the connection without a response";
        return Part::Last(text.to_owned());
    }
    if error.source().is_some() {
        return Part::Skip;
    }
    Part::Last(if error.is_parse() {
        format!("malformed HTTP response: {error}")
    } else if error.is_canceled() || error.is_closed() {
        "connection closed".to_owned()
    } else {
        error.to_string()
    })
}

fn http2(error: &h2::Error) -> Part {
    if let Some(error) = error.get_io() {
        return io(error);
    }
    let code = error.reason().map(|reason| format!("{reason:?}"));
    let code = code.unwrap_or_default();
    let from = if error.is_remote() {
        "server"
    } else {
        "client"
    };
    Part::Last(if error.is_go_away() {
        format!("http2: {from} sent GOAWAY and closed the connection; ErrCode={code}")
    } else if error.is_reset() {
        format!("http2: stream error: {code}; reset by the {from}")
    } else {
        format!("http2: {error}")
    })
}

#[cfg(test)]
mod tests;
