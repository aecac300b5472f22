//! Look-ups by the system's `resolv.conf`, with the outcomes that Prometheus tells
//! apart.

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

/// Looks names up as `resolv.conf` says at the time.
#[derive(Debug)]
pub(super) struct Resolver {
    path: PathBuf,
    port: u16,
    system: Option<System>,
}

/// What `resolv.conf` made.
#[derive(Debug)]
struct System {
    /// The file's text.
    text: Vec<u8>,
    /// One resolver per server: a resolver of several would take the first one's
    /// SERVFAIL for an answer.
    servers: Vec<TokioResolver>,
    search: Vec<Name>,
    ndots: usize,
}

/// A look-up that says nothing of a name.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// `resolv.conf` cannot be used.
    #[error("{}: {source}", .path.display())]
    ResolvConf { path: PathBuf, source: NetError },
    /// The name is none.
    #[error("{0}")]
    Name(#[from] ProtoError),
    /// No server answered for at least one of the names tried.
    #[error("no server has a usable answer for {name}: {source}")]
    NoAnswer { name: Name, source: NetError },
}

// === impl Resolver ===

impl Resolver {
    /// A resolver that asks the servers of another file, at another port.
    #[cfg(test)]
    pub(super) fn new(path: PathBuf, port: u16) -> Self {
        Self {
            path,
            port,
            system: None,
        }
    }

    /// Reads `resolv.conf` again where it has changed.
    pub(super) async fn reload(&mut self) -> Result<(), LookupError> {
        let failed = |source| LookupError::ResolvConf {
            path: self.path.clone(),
            source,
        };
        let text = tokio::fs::read(&self.path).await;
        let text = text.map_err(|error| failed(error.into()))?;
        if self.system.as_ref().is_none_or(|s| s.text != text) {
            self.system = Some(System::new(text, self.port).map_err(failed)?);
        }
        Ok(())
    }

    /// The records of a name, tried with the search domains. The first that a
    /// server knows has the say, even if it has no such records. Where every one
    /// is known not to exist there are none.
    pub(super) async fn lookup(
        &self,
        name: &str,
        record: RecordType,
    ) -> Result<Vec<RData>, LookupError> {
        let Some(system) = &self.system else {
            return Ok(Vec::new());
        };
        let mut failure = None;
        for name in system.names(Name::from_str_relaxed(name)?) {
            match system.ask(&name, record).await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) => debug!(%name, "Name does not exist"),
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
            system: None,
        }
    }
}

// === impl System ===

impl System {
    fn new(text: Vec<u8>, port: u16) -> Result<Self, NetError> {
        let (config, mut options) = parse_resolv_conf(&text)?;
        // Each refresh asks, and only servers are asked.
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

    /// The full names that a name may mean, the likeliest first.
    fn names(&self, name: Name) -> Vec<Name> {
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
        // A name with its final dot is searched nowhere else.
        names.iter_mut().for_each(|name| name.set_fqdn(true));
        names
    }

    /// The records of a full name, by the first server that has a word on it;
    /// `None` where it does not exist.
    async fn ask(&self, name: &Name, record: RecordType) -> Result<Option<Vec<RData>>, NetError> {
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
