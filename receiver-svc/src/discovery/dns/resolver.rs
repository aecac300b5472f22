//! DNS lookups according to the system's `resolv.conf`.
//!
//! Distinguishes the outcomes that Prometheus does: records, no such name, failure.

use std::path::PathBuf;

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        ProtoError,
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
    system_conf::parse_resolv_conf,
};
use tracing::debug;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// Looks up names with the current settings of `resolv.conf`.
#[derive(Debug)]
pub(super) struct Resolver {
    path: PathBuf,
    port: u16,
    loaded: Option<ResolvConf>,
}

/// Parsed `resolv.conf`, with a resolver for each of its name servers.
#[derive(Debug)]
struct ResolvConf {
    /// The text of the file.
    text: Vec<u8>,
    /// One resolver per server. A resolver for several servers would accept a
    /// SERVFAIL of the first one as the answer.
    servers: Vec<TokioResolver>,
    search: Vec<Name>,
    ndots: usize,
}

/// Error of a lookup whose outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// `resolv.conf` cannot be read or parsed.
    #[error("{}: {source}", .path.display())]
    ResolvConf { path: PathBuf, source: NetError },
    /// The name is not a valid domain name.
    #[error("{0}")]
    Name(#[from] ProtoError),
    /// No server gave a usable answer for at least one of the candidate names.
    #[error("no name server gave a usable answer for {name}: {source}")]
    NoAnswer { name: Name, source: NetError },
}

// === impl Resolver ===

impl Resolver {
    /// Creates a resolver that reads another file and queries another port.
    #[cfg(test)]
    pub(super) fn new(path: PathBuf, port: u16) -> Self {
        Self {
            path,
            port,
            loaded: None,
        }
    }

    /// Re-reads `resolv.conf` and applies it if it has changed.
    pub(super) async fn reload(&mut self) -> Result<(), LookupError> {
        let failed = |source| LookupError::ResolvConf {
            path: self.path.clone(),
            source,
        };
        let text = tokio::fs::read(&self.path).await;
        let text = text.map_err(|error| failed(error.into()))?;
        if self.loaded.as_ref().is_none_or(|l| l.text != text) {
            self.loaded = Some(ResolvConf::new(text, self.port).map_err(failed)?);
        }
        Ok(())
    }

    /// Looks up the records of a name, with the search domains.
    ///
    /// The first candidate that exists decides, even if it has no such records.
    /// Returns no records if no candidate exists.
    ///
    /// # Errors
    /// Returns an error if the name is invalid, or if no candidate is found and at
    /// least one lookup failed.
    pub(super) async fn lookup(
        &self,
        name: &str,
        record: RecordType,
    ) -> Result<Vec<RData>, LookupError> {
        let Some(loaded) = &self.loaded else {
            return Ok(Vec::new());
        };
        let mut failure = None;
        for name in loaded.candidates(Name::from_str_relaxed(name)?) {
            match loaded.query(&name, record).await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) => debug!(%name, "DNS name does not exist"),
                Err(source) => failure = Some(LookupError::NoAnswer { name, source }),
            }
        }
        match failure {
            None => Ok(Vec::new()),
            Some(failure) => Err(failure),
        }
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            path: RESOLV_CONF.into(),
            port: PORT,
            loaded: None,
        }
    }
}

// === impl ResolvConf ===

impl ResolvConf {
    fn new(text: Vec<u8>, port: u16) -> Result<Self, NetError> {
        let (config, mut options) = parse_resolv_conf(&text)?;
        // Every refresh queries the servers; no cache, no hosts file.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let (_, search, servers) = config.into_parts();
        let resolver = |mut server: NameServerConfig| {
            for connection in &mut server.connections {
                connection.port = port;
            }
            let config = ResolverConfig::from_name_servers(vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            *builder.options_mut() = options.clone();
            builder.build()
        };
        Ok(Self {
            text,
            servers: servers
                .into_iter()
                .map(resolver)
                .collect::<Result<_, _>>()?,
            search,
            ndots: options.ndots,
        })
    }

    /// Returns the fully qualified candidates for a name, in lookup order.
    fn candidates(&self, name: Name) -> Vec<Name> {
        if name.is_fqdn() {
            return vec![name];
        }
        let mut names: Vec<_> = self
            .search
            .iter()
            .filter_map(|domain| name.clone().append_domain(domain).ok())
            .collect();
        let as_given_first = usize::from(name.num_labels()) > self.ndots;
        let at = if as_given_first { 0 } else { names.len() };
        names.insert(at, name);
        // The final dot prevents a further search by the resolver.
        names.iter_mut().for_each(|name| name.set_fqdn(true));
        names
    }

    /// Queries the servers in order for the records of a fully qualified name, until
    /// one answers. Returns `None` if the name does not exist.
    async fn query(&self, name: &Name, record: RecordType) -> Result<Option<Vec<RData>>, NetError> {
        let mut failure = NetError::NoConnections;
        for server in &self.servers {
            match server.lookup(name.clone(), record).await {
                Ok(found) => {
                    let records = found.answers().iter();
                    let records = records.filter(|found| found.record_type() == record);
                    return Ok(Some(records.map(|found| found.data.clone()).collect()));
                }
                Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
                    let exists = nothing.response_code != ResponseCode::NXDomain;
                    return Ok(exists.then(Vec::new));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}
