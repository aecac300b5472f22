//! Listen addresses, in the notation of Go's tools.
//!
//! | notation | listens on |
//! |---|---|
//! | `:8080` | all interfaces, IPv6 and IPv4 |
//! | `0.0.0.0:8080` | all IPv4 interfaces |
//! | `[::1]:8080` | one address |
//! | `localhost:8080` | the first IPv4 address of the name, or else its first IPv6 address |
//!
//! With port 0 the system chooses the port.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tokio::net::{TcpListener, lookup_host};

/// Address for a server to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port of all interfaces.
    All {
        /// Port, or 0 for any.
        port: u16,
    },
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A host name, which is resolved when the server starts.
    Name {
        /// Host name.
        host: String,
        /// Port, or 0 for any.
        port: u16,
    },
}

/// Error for a text that is not a listen address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?}: {problem}; expected HOST:PORT, [IPV6]:PORT or :PORT, such as :8080 or localhost:8080"
)]
pub struct ParseListenAddressError {
    found: String,
    problem: &'static str,
}

// === impl ListenAddress ===

impl ListenAddress {
    /// Opens the port. Returns the listener and the address that it is bound to.
    ///
    /// # Errors
    /// Returns an error if the name cannot be resolved or the port cannot be opened.
    pub async fn bind(&self) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = match self {
            Self::All { port } => bind_all(*port).await,
            Self::Ip(address) => TcpListener::bind(address).await,
            Self::Name { host, port } => TcpListener::bind(resolve(host, *port).await?).await,
        }?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    }
}

/// Listens on IPv6, which includes IPv4, or on IPv4 alone if the system has no IPv6.
async fn bind_all(port: u16) -> io::Result<TcpListener> {
    let on = |ip: IpAddr| TcpListener::bind(SocketAddr::new(ip, port));
    match on(Ipv6Addr::UNSPECIFIED.into()).await {
        Err(error) if is_without_ipv6(&error) => on(Ipv4Addr::UNSPECIFIED.into()).await,
        bound => bound,
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}

async fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
        .first()
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddressError> {
        let error = |problem| ParseListenAddressError {
            found: text.to_owned(),
            problem,
        };
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'))
            .ok_or_else(|| error("no port"))?;
        // Rust's parser accepts a sign.
        let port = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| error("the port is not a number up to 65535"))?;
        if host.is_empty() {
            return Ok(Self::All { port });
        }
        if host.contains([':', '[', ']']) {
            return Err(error("the host is not an IPv6 address in brackets"));
        }
        let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !host.chars().all(is_valid) {
            return Err(error("the host is not a name or an IP address"));
        }
        let host = host.to_owned();
        Ok(Self::Name { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { port } => write!(f, ":{port}"),
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_formats_every_notation() {
        let ip = |text: &str| ListenAddress::Ip(text.parse().unwrap());
        let name = |host: &str, port| ListenAddress::Name {
            host: host.to_owned(),
            port,
        };
        for (text, expected) in [
            (":8080", ListenAddress::All { port: 8080 }),
            (":0", ListenAddress::All { port: 0 }),
            ("0.0.0.0:8080", ip("0.0.0.0:8080")),
            ("127.0.0.1:0", ip("127.0.0.1:0")),
            ("[::1]:8080", ip("[::1]:8080")),
            ("[::]:8080", ip("[::]:8080")),
            ("localhost:8080", name("localhost", 8080)),
            ("pod-1.ns_a.svc:65535", name("pod-1.ns_a.svc", 65535)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(
                text.parse::<ListenAddress>().unwrap().to_string(),
                text,
                "{text}"
            );
        }
    }

    #[test]
    fn errors_state_the_problem() {
        for (text, problem) in [
            ("", "no port"),
            ("8080", "no port"),
            ("localhost", "no port"),
            ("[::1]", "no port"),
            (":", "the port is not a number up to 65535"),
            (":http", "the port is not a number up to 65535"),
            (":-1", "the port is not a number up to 65535"),
            (":+1", "the port is not a number up to 65535"),
            (":65536", "the port is not a number up to 65535"),
            ("::1:8080", "the host is not an IPv6 address in brackets"),
            ("[x]:8080", "the host is not an IPv6 address in brackets"),
            ("*:8080", "the host is not a name or an IP address"),
            ("a b:8080", "the host is not a name or an IP address"),
            (
                "http://a:8080",
                "the host is not an IPv6 address in brackets",
            ),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            let start = format!("{text:?}: {problem}; expected ");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[tokio::test]
    async fn listens_on_loopback_by_each_notation() {
        for text in [":0", "0.0.0.0:0", "localhost:0", "127.0.0.1:0"] {
            let address: ListenAddress = text.parse().unwrap();
            let (listener, bound) = address.bind().await.unwrap();
            assert_ne!(bound.port(), 0, "{text}");
            let client = tokio::net::TcpStream::connect(("127.0.0.1", bound.port()));
            let (client, accepted) = tokio::join!(client, listener.accept());
            client.unwrap();
            accepted.unwrap();
        }
    }

    #[tokio::test]
    async fn reports_an_address_in_use() {
        let (_first, bound) = ListenAddress::All { port: 0 }.bind().await.unwrap();
        let port = bound.port();
        let error = ListenAddress::All { port }.bind().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
