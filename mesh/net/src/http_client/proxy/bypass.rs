//! Reads a `no_proxy` list as Go's `httpproxy` does.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// Addresses that a client reaches without a proxy. They always include loopback addresses.
#[derive(Debug, Default)]
pub(super) struct Bypass {
    /// True if the list has `*`.
    all: bool,
    entries: Vec<Entry>,
}

/// One entry of the list: `192.0.2.0/24`, `192.0.2.1:80`, `example.com`, `.example.com:8080`.
#[derive(Debug)]
struct Entry {
    hosts: Hosts,
    /// Port to match; `None` for any port.
    port: Option<String>,
}

#[derive(Debug)]
enum Hosts {
    Network(IpNet),
    Address(IpAddr),
    /// Names that end with this text, which begins with a dot.
    Below(String),
    /// A name, after a dot, and all names below it.
    AtOrBelow(String),
}

// === impl Bypass ===

impl Bypass {
    /// Reads a list with commas. Ignores empty entries.
    pub(super) fn parse(list: &str) -> Self {
        let entries = list.split(',').map(|entry| entry.trim().to_lowercase());
        let mut bypass = Self::default();
        for entry in entries {
            bypass.all |= entry == "*";
            bypass.entries.extend(Entry::parse(&entry));
        }
        bypass
    }

    /// Returns true if the client reaches this host directly.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let host = host.to_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        if self.all || host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        let port = port.to_string();
        let mut entries = self.entries.iter();
        entries.any(|entry| {
            entry.port.as_ref().is_none_or(|own| *own == port)
                && entry.hosts.contain(&host, address)
        })
    }
}

// === impl Entry ===

impl Entry {
    fn parse(entry: &str) -> Option<Self> {
        if let Ok(network) = entry.parse() {
            let hosts = Hosts::Network(network);
            return Some(Self { hosts, port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (entry, None),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let hosts = match host.parse::<IpAddr>() {
            Ok(address) => Hosts::Address(address.to_canonical()),
            Err(_) => Hosts::named(host)?,
        };
        Some(Self {
            hosts,
            port: port.map(str::to_owned),
        })
    }
}

// === impl Hosts ===

impl Hosts {
    fn named(host: &str) -> Option<Self> {
        let host = host
            .strip_prefix('*')
            .filter(|h| h.starts_with('.'))
            .unwrap_or(host);
        let ascii = |name: &str| match Host::parse(name) {
            Ok(Host::Domain(punycode)) => format!(".{punycode}"),
            _ => format!(".{name}"),
        };
        match host.strip_prefix('.') {
            Some(name) => Some(Self::Below(ascii(name))),
            None => (!host.is_empty()).then(|| Self::AtOrBelow(ascii(host))),
        }
    }

    fn contain(&self, host: &str, address: Option<IpAddr>) -> bool {
        match self {
            Self::Network(network) => address.is_some_and(|ip| network.contains(&ip)),
            Self::Address(own) => address == Some(*own),
            Self::Below(suffix) => host.ends_with(suffix),
            Self::AtOrBelow(suffix) => host.ends_with(suffix) || *host == suffix[1..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_names_addresses_networks_and_ports() {
        let is = |list: &str, host: &str, port: u16, expected: bool| {
            let matches = Bypass::parse(list).matches(host, port);
            assert_eq!(matches, expected, "{list:?} {host}:{port}");
        };
        for host in [
            "localhost",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            is("", host, 80, true);
        }
        is("", "10.0.0.1", 80, false);
        is("a, *", "anything", 80, true);
        is("example.com", "example.com", 80, true);
        is("Example.COM", "a.EXAMPLE.com", 80, true);
        is("example.com", "badexample.com", 80, false);
        is(".example.com", "example.com", 80, false);
        is("*.example.com", "a.example.com", 80, true);
        is("*.example.com", "example.com", 80, false);
        is("bücher.example", "xn--bcher-kva.example", 80, true);
        is("a:81", "a", 81, true);
        is("a:81", "a", 80, false);
        is("10.0.0.0/8, ,", "10.1.2.3", 80, true);
        is("10.0.0.0/8", "11.1.2.3", 80, false);
        is("10.0.0.0/8", "10.example", 80, false);
        is("10.0.0.1:9100", "10.0.0.1", 9100, true);
        is("10.0.0.1:9100", "10.0.0.1", 9101, false);
        is("fd00::1", "fd00::1", 80, true);
        is("[fd00::1]:81", "fd00::1", 81, true);
        is("[fd00::1]:81", "fd00::1", 80, false);
        is("fd00::/8", "fd12::1", 80, true);
    }
}
