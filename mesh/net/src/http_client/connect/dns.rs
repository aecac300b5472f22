//! Resolves host names as Go does.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll},
    vec,
};

use futures::{FutureExt, future::BoxFuture};
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// Resolves names with the resolver of the system.
///
/// The empty name is the local host. Short forms of IPv4 addresses, such as `127.1`, resolve
/// to nothing; the C library would resolve them.
#[derive(Clone, Debug)]
pub(super) struct Resolver(GaiResolver);

/// Name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("no such host: {0:?} is a short form of an IPv4 address; write four decimal numbers")]
struct ShortForm(String);

/// Failed lookup of a name.
#[derive(Debug, thiserror::Error)]
#[error("lookup {name}: {problem}")]
struct LookupError {
    name: String,
    problem: String,
}

// === impl LookupError ===

impl LookupError {
    /// Describes an error of `getaddrinfo`.
    fn new(name: &Name, error: &io::Error) -> Self {
        let text = error.to_string();
        let text = text.rsplit(": ").next().unwrap_or_default();
        let problem = match text {
            "Name or service not known" | "No address associated with hostname" => "no such host",
            text => text,
        };
        Self {
            name: name.to_string(),
            problem: problem.to_lowercase(),
        }
    }
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if name.as_str().is_empty() {
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            return async move { Ok(vec![local].into_iter()) }.boxed();
        }
        if is_short_form(name.as_str()) {
            let error = ShortForm(name.as_str().to_owned());
            return async move { Err(io::Error::other(error)) }.boxed();
        }
        let resolving = self.0.call(name.clone());
        async move {
            let found = resolving.await;
            let found = found.map_err(|error| io::Error::other(LookupError::new(&name, &error)))?;
            Ok(found.collect::<Vec<_>>().into_iter())
        }
        .boxed()
    }
}

/// Returns true if the C library reads `name` as an IPv4 address: up to four numbers,
/// decimal, octal or hexadecimal. The caller has excluded four decimal ones.
fn is_short_form(name: &str) -> bool {
    let is_number = |part: &str| {
        let hex = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
        match hex {
            Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()),
        }
    };
    name.split('.').count() <= 4 && name.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_short_forms() {
        for name in [
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "1.2.3.04",
            "0X7F000001",
        ] {
            assert!(is_short_form(name), "{name}");
        }
        for name in [
            "localhost",
            "127.1.",
            "1.2.3.4.5",
            "a1",
            "1a.2",
            "0xg",
            "",
            "1.example",
        ] {
            assert!(!is_short_form(name), "{name}");
        }
    }

    #[tokio::test]
    async fn the_empty_name_is_the_local_host() {
        let mut http =
            hyper_util::client::legacy::connect::HttpConnector::new_with_resolver(Resolver::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = |http: &mut hyper_util::client::legacy::connect::HttpConnector<Resolver>,
                       host: &str| {
            http.call(format!("http://{host}:{port}/").parse().unwrap())
        };
        connect(&mut http, "").await.unwrap();
        connect(&mut http, "localhost").await.unwrap();
        let error = connect(&mut http, "127.1").await.unwrap_err();
        let error = crate::describe(&error);
        assert!(
            error.contains("\"127.1\" is a short form of an IPv4 address"),
            "{error}"
        );
    }
}
