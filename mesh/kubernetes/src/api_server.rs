//! Selects an API server and creates its client.

#[cfg(test)]
mod tls_server;

use std::path::PathBuf;

use kube::{
    Client, Config,
    config::{InClusterError, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use url::Url;

use mesh_model::config::{http::HttpClientConfig, redacted};
use mesh_net::http_client::{HttpClient, HttpClientError};

use crate::{config_client, url_client};

/// An API server, and how to connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiServer {
    /// The server of the user's kubeconfig (`KUBECONFIG`), or else of the pod's own cluster.
    Inferred,
    /// The server of the pod's own cluster, with the pod's service account.
    InCluster,
    /// The server of the current context in a kubeconfig file.
    Kubeconfig(PathBuf),
    /// The server at this URL.
    Url {
        /// URL of the server. Its path is the prefix of all resource paths.
        url: Url,
        /// HTTP client settings.
        http: Box<HttpClientConfig>,
    },
}

/// A client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The process does not run in a pod with a service account token.
    #[error("in-cluster configuration: {0}")]
    InCluster(#[from] InClusterError),
    /// No usable kubeconfig and no in-cluster configuration exist.
    #[error(transparent)]
    Inferred(#[from] InferConfigError),
    /// A kubeconfig file cannot be used.
    #[error("{path}: {source}")]
    Kubeconfig {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: Box<KubeconfigError>,
    },
    /// HTTP client settings cannot be used.
    #[error(transparent)]
    Http(#[from] HttpClientError),
    /// Credentials or certificates cannot be used.
    #[error(transparent)]
    Credentials(#[from] Box<kube::Error>),
}

// === impl ApiServer ===

impl ApiServer {
    /// Creates a client. It sends no request yet.
    ///
    /// # Errors
    /// Returns an error if the settings are missing or invalid.
    pub async fn client(&self) -> Result<Client, ClientError> {
        let config = match self {
            Self::Url { url, http } => {
                let name = format!("kubernetes_sd_configs {}", redacted(url));
                return Ok(url_client::client(
                    HttpClient::named(name, http)?,
                    url.clone(),
                ));
            }
            Self::Inferred => Config::infer().await?,
            Self::InCluster => Config::incluster()?,
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
        // This may run a credential plugin of the kubeconfig and wait for it.
        let client = tokio::task::spawn_blocking(move || config_client::client(config)).await;
        let client = client.map_err(|panicked| kube::Error::Service(panicked.into()));
        Ok(client.flatten().map_err(Box::new)?)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use http::{Response, StatusCode, header::AUTHORIZATION};
    use k8s_openapi::api::core::v1::Namespace;
    use kube::{Api, api::WatchParams};
    use serde_json::json;
    use std::sync::atomic::Ordering::Relaxed;

    use super::{tls_server::Endless, *};
    use mesh_model::config::{
        Secret,
        http::{PemSource, TlsConfig},
    };

    /// Creates a client from a kubeconfig that trusts this authority.
    async fn kubeconfig_client(port: u16, authority: &str) -> Client {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let kubeconfig = json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://localhost:{port}"),
                "certificate-authority-data": BASE64_STANDARD.encode(authority),
            }}],
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        ApiServer::Kubeconfig(path).client().await.unwrap()
    }

    /// Creates a client from a URL and an authority.
    async fn url_client(port: u16, authority: &str) -> Client {
        let http = HttpClientConfig {
            tls: TlsConfig {
                ca: Some(PemSource::Inline(Secret::new(authority))),
                ..TlsConfig::default()
            },
            ..HttpClientConfig::default()
        };
        let server = ApiServer::Url {
            url: format!("https://localhost:{port}").parse().unwrap(),
            http: Box::new(http),
        };
        server.client().await.unwrap()
    }

    /// Starts 250 watches at once. Returns the numbers of connections and of requests.
    async fn watch_many(client: Client, server: &Endless) -> (usize, usize) {
        let namespaces = Api::<Namespace>::all(client);
        let params = WatchParams::default();
        let watches = (0..250).map(|_| namespaces.watch(&params, "1"));
        let watches = futures::future::join_all(watches).await;
        assert!(watches.iter().all(Result::is_ok));
        let connections = server.connections.load(Relaxed);
        (connections, server.requests.load(Relaxed))
    }

    #[tokio::test]
    async fn many_watches_share_a_few_connections() {
        let (port, certificate, server) = tls_server::serve_endless(100).await;
        let client = kubeconfig_client(port, &certificate).await;
        assert_eq!(watch_many(client, &server).await, (4, 250));
        let (port, certificate, server) = tls_server::serve_endless(100).await;
        let client = url_client(port, &certificate).await;
        assert_eq!(watch_many(client, &server).await, (4, 250));
    }

    #[tokio::test]
    async fn uses_the_authority_and_the_token_of_a_kubeconfig() {
        let (port, certificate) = tls_server::serve(|request| {
            let known = request.headers()[AUTHORIZATION] == "Bearer secret";
            let list = json!({"metadata": {}, "items": [{"metadata": {"name": "n"}}]});
            let mut response = Response::new(list.to_string());
            if !known {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            response
        })
        .await;
        let client = async |authority: &str| kubeconfig_client(port, authority).await;
        let list = async |authority| {
            let namespaces = Api::<Namespace>::all(client(authority).await);
            namespaces.list(&Default::default()).await
        };
        let listed = list(&certificate).await.unwrap();
        assert_eq!(listed.items[0].metadata.name.as_deref(), Some("n"));
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let refused = list(&other.cert.pem()).await.unwrap_err();
        assert!(
            format!("{refused:?}").contains("InvalidCertificate"),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn errors_name_the_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let error = async || {
            let client = ApiServer::Kubeconfig(path.clone()).client().await;
            client.err().unwrap().to_string()
        };
        let start = format!("{}: ", path.display());
        assert!(error().await.starts_with(&start), "{}", error().await);
        std::fs::write(&path, "clusters: oops").unwrap();
        assert!(error().await.starts_with(&start), "{}", error().await);
    }
}
