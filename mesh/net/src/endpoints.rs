//! The notation of peer addresses in flags: exporters, receivers, gateways.
//!
//! | notation | discovery |
//! |---|---|
//! | `10.0.0.1:4317,10.0.0.2:4317` | a fixed list |
//! | `dns:///exporter.promesh.svc:4317` | resolving a name every 5 s |
//! | `k8s:///promesh/exporter:4317` | watching the EndpointSlices of a service |
//!
//! This module parses the notation. `mesh_kubernetes::endpoints` runs the discovery.

use std::{collections::BTreeSet, fmt, str::FromStr};

use tokio::sync::watch;

/// Source of the peers' addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Fixed addresses.
    List(BTreeSet<String>),
    /// All addresses of a DNS name.
    Dns {
        /// DNS name.
        host: String,
        /// Port of the peers.
        port: u16,
    },
    /// The ready endpoints of a Kubernetes service.
    Kubernetes {
        /// Namespace of the service.
        namespace: String,
        /// Name of the service.
        service: String,
        /// Port of the peers.
        port: u16,
    },
}

/// Addresses of the peers in the form `host:port`. `None` before the first discovery.
pub type Addresses = watch::Receiver<Option<BTreeSet<String>>>;

/// Error for a text that is not in this notation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?}: {problem}; expected HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or k8s:///NAMESPACE/SERVICE:PORT"
)]
pub struct ParseEndpointsError {
    found: String,
    problem: &'static str,
}

// === impl Endpoints ===

impl Endpoints {
    /// Returns true if the discovery lists only ready peers. A fixed list also contains peers
    /// that are down.
    pub fn are_ready(&self) -> bool {
        !matches!(self, Self::List(_))
    }
}

impl FromStr for Endpoints {
    type Err = ParseEndpointsError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointsError> {
        let error = |problem| ParseEndpointsError {
            found: text.to_owned(),
            problem,
        };
        if let Some(name) = text.strip_prefix("dns:///") {
            let (host, port) = host_and_port(name).map_err(error)?;
            let host = host.to_owned();
            return Ok(Self::Dns { host, port });
        }
        if let Some(service) = text.strip_prefix("k8s:///") {
            let (name, port) = host_and_port(service).map_err(error)?;
            let (namespace, service) = name
                .split_once('/')
                .filter(|(namespace, service)| !namespace.is_empty() && !service.is_empty())
                .ok_or_else(|| error("no NAMESPACE/SERVICE"))?;
            let (namespace, service) = (namespace.to_owned(), service.to_owned());
            return Ok(Self::Kubernetes {
                namespace,
                service,
                port,
            });
        }
        if text.contains("://") {
            return Err(error("unknown scheme"));
        }
        let mut addresses = BTreeSet::new();
        for address in text.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            host_and_port(address).map_err(error)?;
            addresses.insert(address.to_owned());
        }
        if addresses.is_empty() {
            return Err(error("no address"));
        }
        Ok(Self::List(addresses))
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
                f.write_str(&addresses.join(","))
            }
            Self::Dns { host, port } => write!(f, "dns:///{host}:{port}"),
            Self::Kubernetes {
                namespace,
                service,
                port,
            } => {
                write!(f, "k8s:///{namespace}/{service}:{port}")
            }
        }
    }
}

fn host_and_port(address: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("address without a port")?;
    if host.is_empty() {
        return Err("address without a host");
    }
    let port = port
        .parse()
        .map_err(|_| "port is not a number up to 65535")?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_formats_every_notation() {
        for text in [
            "10.0.0.1:4317,[::1]:4318",
            "dns:///exporter.promesh.svc:4317",
            "k8s:///promesh/exporter:4317",
        ] {
            assert_eq!(text.parse::<Endpoints>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_state_the_problem() {
        for (text, problem) in [
            ("", "no address"),
            ("exporter", "address without a port"),
            (":4317", "address without a host"),
            ("exporter:http", "port is not a number up to 65535"),
            ("k8s:///exporter:4317", "no NAMESPACE/SERVICE"),
            ("http://exporter:4317", "unknown scheme"),
        ] {
            let error = text.parse::<Endpoints>().unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
        }
    }
}
