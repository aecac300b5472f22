//! Networking: TLS, connectors, the HTTP client and server, AWS credentials, and the notation of peer addresses.

pub mod aws;
pub mod connector;
pub mod endpoints;
pub mod http_client;
pub mod server;
pub mod tls;
