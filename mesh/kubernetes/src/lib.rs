//! Clients of the Kubernetes API, and watches that go on.
//!
//! A client of a pod's own cluster or of a kubeconfig file is kube's, with its
//! token and certificate rotation. A client of an `api_server` with HTTP client
//! settings sends through our [`HttpClient`], so that every setting means here what
//! it means for a scrape.

pub mod endpoints;
pub mod shard;

mod api_server;
mod bounded;
mod failure;
mod platform;
mod watch;

use std::path::PathBuf;

use kube::{
    Client, Config,
    config::{InClusterError, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use url::Url;

use mesh_model::config::http::HttpClientConfig;
use mesh_net::http_client::{HttpClient, HttpClientError};

pub use failure::WatchFailure;
pub use watch::watch;

const AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

/// Which API server is asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiServer {
    /// That of the user's kubeconfig (`KUBECONFIG`), or of the pod's own cluster.
    Inferred,
    /// That of the pod's own cluster, as its service account.
    Own,
    /// That of the current context of a kubeconfig file.
    Kubeconfig(PathBuf),
    /// The one at this URL.
    At {
        /// Where it is; a path is put before those of its resources.
        url: Url,
        /// How it is reached.
        http: Box<HttpClientConfig>,
    },
}

/// No client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// This is no pod, or one without a service account's token.
    #[error("in-cluster configuration: {0}")]
    InCluster(#[from] InClusterError),
    /// There is neither a usable kubeconfig nor a cluster around.
    #[error(transparent)]
    Inferred(#[from] InferConfigError),
    /// A kubeconfig file cannot be used.
    #[error("{path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<KubeconfigError>,
    },
    /// HTTP client settings cannot be used.
    #[error(transparent)]
    Http(#[from] HttpClientError),
    /// Credentials or certificates cannot be used.
    #[error(transparent)]
    Unusable(#[from] Box<kube::Error>),
}

// === impl ApiServer ===

impl ApiServer {
    /// A client, which has not asked anything yet.
    ///
    /// # Errors
    /// Where the settings are missing or cannot be used.
    pub async fn client(&self) -> Result<Client, ClientError> {
        let config = match self {
            Self::At { url, http } => {
                return Ok(api_server::client(HttpClient::new(http)?, url.clone()));
            }
            Self::Inferred => Config::infer().await?,
            Self::Own => Config::incluster()?,
            Self::Kubeconfig(path) => {
                let failed = |source| ClientError::Kubeconfig {
                    path: path.clone(),
                    source: Box::new(source),
                };
                let file = Kubeconfig::read_from(path).map_err(failed)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(failed)?
            }
        };
        // A credential plugin of the kubeconfig is a program that is waited for.
        let made = tokio::task::spawn_blocking(move || platform::client(config)).await;
        let made = made.map_err(|panicked| kube::Error::Service(panicked.into()));
        Ok(made.and_then(|made| made).map_err(Box::new)?)
    }
}
