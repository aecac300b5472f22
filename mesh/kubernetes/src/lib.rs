//! Clients of the Kubernetes API, watches that never end, and discovery of peers.
//!
//! - [`ApiServer`] creates a client. For the pod's own cluster or a kubeconfig file, the
//!   client has kube's rotation of tokens and certificates. For a URL, it sends through
//!   [`mesh_net::http_client`], so that each HTTP setting means the same as for a scrape.
//! - [`watch()`] lists and watches objects, and retries after each failure.
//! - [`endpoints`] discovers peers from a list, a DNS name or a Kubernetes service.
//! - [`shard`] assigns each key to one of these peers.
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use mesh_kubernetes::shard::Shard;
//!
//! let members = BTreeSet::from(["10.0.0.1:8080".to_owned(), "10.0.0.2:8080".to_owned()]);
//! let shards = members.iter().map(|member| Shard::new(member, &members));
//! assert_eq!(shards.filter(|shard| shard.owns(42)).count(), 1);
//! ```

pub mod endpoints;
pub mod shard;

mod api_server;
mod config_client;
mod connections;
mod failure;
mod transport;
mod url_client;
mod watch;

pub use api_server::{ApiServer, ClientError};
pub use failure::{FAILURE_REASONS, WatchFailure};
pub use watch::{Watched, watch};
