//! Networking that every service uses.
//!
//! - [`connector`]: opens byte streams to peers.
//! - [`describe`]: describes failed requests in plain words.
//! - [`tls`]: TLS configurations for clients.
//! - [`http_client`]: the HTTP client of scrapes, discovery and remote write.
//! - [`listen`]: the notation of listen addresses in flags.
//! - [`server`]: the HTTP and gRPC listener.
//! - [`bearer`]: bearer tokens from a file.
//! - [`aws`]: AWS credentials and request signatures.
//! - [`endpoints`]: the notation of peer addresses in flags.
//!
//! This crate moves bytes. It must not know batches, routing or the Kubernetes API: `mesh-balance`
//! chooses among peers, and `mesh-kubernetes` resolves the addresses of a service.
//!
//! ```
//! use mesh_net::endpoints::Endpoints;
//!
//! let endpoints: Endpoints = "k8s:///promesh/exporter:4317".parse()?;
//! assert!(matches!(endpoints, Endpoints::Kubernetes { port: 4317, .. }));
//! # Ok::<(), mesh_net::endpoints::ParseEndpointsError>(())
//! ```

pub mod aws;
pub mod bearer;
pub mod connector;
mod describe;
pub mod endpoints;
pub mod http_client;
pub mod listen;
pub mod server;
pub mod tls;

pub use self::describe::describe;
