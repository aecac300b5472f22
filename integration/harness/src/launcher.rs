//! The launcher of a mesh starts its services: as processes or inside this process.

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;

use crate::spec::{Addresses, ServiceSpec};

/// Starts services.
pub trait Launcher {
    /// A service that this launcher has started. Dropping it ends the service.
    type Service: Service;

    /// True if each service has its own environment variables. If not, the keys of the
    /// backend are part of the configuration file.
    const HAS_ENVIRONMENT: bool;

    /// Starts a service and waits until it listens. Files of the service, such as its log,
    /// are created in `folder`.
    ///
    /// # Errors
    /// Returns an error if the service does not start.
    fn launch(
        &self,
        spec: &ServiceSpec,
        folder: &Path,
    ) -> impl Future<Output = anyhow::Result<Self::Service>> + Send;
}

/// A running service.
pub trait Service {
    /// Stops the service as an orchestrator does, and waits until it has ended. Does nothing
    /// if it has ended already.
    ///
    /// # Errors
    /// Returns an error if the service fails, or does not end within `limit`.
    fn stop(&mut self, limit: Duration) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Addresses that the service listens on.
    fn addresses(&self) -> Addresses;
}

// === impl Addresses ===

impl Addresses {
    /// Addresses of a service that has only an admin port.
    pub fn web(web: SocketAddr) -> Self {
        Self {
            grpc: None,
            http: None,
            web,
        }
    }

    /// Address of the gRPC port.
    ///
    /// # Errors
    /// Returns an error if the service has none.
    pub fn grpc(&self) -> anyhow::Result<SocketAddr> {
        self.grpc.context("the service has no gRPC port")
    }

    /// Address of the OTLP/HTTP port.
    ///
    /// # Errors
    /// Returns an error if the service has none.
    pub fn http(&self) -> anyhow::Result<SocketAddr> {
        self.http.context("the service has no HTTP port")
    }
}

impl From<receiver_svc::Addresses> for Addresses {
    fn from(addresses: receiver_svc::Addresses) -> Self {
        Self::web(addresses.web)
    }
}

impl From<exporter_svc::Addresses> for Addresses {
    fn from(addresses: exporter_svc::Addresses) -> Self {
        Self {
            grpc: Some(addresses.grpc),
            ..Self::web(addresses.web)
        }
    }
}

impl From<gateway::Addresses> for Addresses {
    fn from(addresses: gateway::Addresses) -> Self {
        Self {
            grpc: Some(addresses.grpc),
            http: Some(addresses.http),
            web: addresses.web,
        }
    }
}
