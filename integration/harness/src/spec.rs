//! The specification of one service: its flags, its environment and its addresses.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Addresses that a service listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Addresses {
    /// Address of the gRPC port, if the service has one. A receiver has it for other receivers.
    pub grpc: Option<SocketAddr>,
    /// Address of the OTLP/HTTP port, if the service has one.
    pub http: Option<SocketAddr>,
    /// Address of the admin port.
    pub web: SocketAddr,
}

/// Role of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Scrapes targets.
    Receiver,
    /// Writes to the backend.
    Exporter,
    /// Accepts OTLP pushes.
    Gateway,
}

/// Everything that one service is started with.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Role of the service.
    pub role: Role,
    /// Name of the service, in output and as the name of its log file.
    pub name: String,
    /// Addresses that the service listens on. Port 0 picks a free port.
    pub addresses: Addresses,
    /// Prometheus configuration file. Gateways have none.
    pub config_file: Option<PathBuf>,
    /// Endpoints that a receiver or gateway sends to.
    pub endpoints: Option<String>,
    /// Members of the service's group, which share its work.
    pub members: Option<String>,
    /// Further flags.
    pub flags: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Command that runs the service's command line, such as `unshare --mount`. Empty for
    /// none.
    pub wrapper: Vec<String>,
}

// === impl Role ===

impl Role {
    /// Hidden subcommand that runs a service of this role.
    pub fn subcommand(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Exporter => "exporter",
            Self::Gateway => "gateway",
        }
    }
}

// === impl ServiceSpec ===

impl ServiceSpec {
    /// Returns an exporter.
    pub fn exporter(name: &str, addresses: Addresses, config_file: &Path) -> Self {
        Self {
            config_file: Some(config_file.to_owned()),
            ..Self::new(Role::Exporter, name, addresses)
        }
    }

    /// Returns a receiver that sends to `endpoints`.
    pub fn receiver(name: &str, addresses: Addresses, config_file: &Path, endpoints: &str) -> Self {
        Self {
            config_file: Some(config_file.to_owned()),
            endpoints: Some(endpoints.to_owned()),
            ..Self::new(Role::Receiver, name, addresses)
        }
    }

    /// Returns a gateway that sends to `endpoints`.
    pub fn gateway(name: &str, addresses: Addresses, endpoints: &str) -> Self {
        Self {
            endpoints: Some(endpoints.to_owned()),
            ..Self::new(Role::Gateway, name, addresses)
        }
    }

    fn new(role: Role, name: &str, addresses: Addresses) -> Self {
        Self {
            role,
            name: name.to_owned(),
            addresses,
            config_file: None,
            endpoints: None,
            members: None,
            flags: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Makes the service a member of a group, under the address that the other members call.
    #[must_use]
    pub fn member_of(mut self, members: &str) -> Self {
        self.members = Some(members.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a flag, such as `--outbox.deadline=2`.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: impl IntoIterator<Item = String>) -> Self {
        self.flags.extend(flags);
        self
    }

    /// All flags of the service's command line.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut flag = |name: &str, value: Option<String>| {
            arguments.extend(value.map(|value| format!("--{name}={value}")));
        };
        let Addresses { grpc, http, web } = self.addresses;
        let grpc = grpc.map(|address| address.to_string());
        let http = http.map(|address| address.to_string());
        let config_file = self.config_file.as_ref();
        flag(
            "config.file",
            config_file.map(|path| path.display().to_string()),
        );
        flag("web.listen-address", Some(web.to_string()));
        flag("exporter.endpoints", self.endpoints.clone());
        match self.role {
            Role::Receiver => {
                let own = self.members.as_ref().and(grpc);
                flag("shard.listen-address", own.clone());
                flag("shard.self", own);
                flag("shard.members", self.members.clone());
            }
            Role::Exporter => flag("grpc.listen-address", grpc),
            Role::Gateway => {
                let own = self.members.as_ref().and(grpc.clone());
                flag("otlp.grpc.listen-address", grpc);
                flag("otlp.http.listen-address", http);
                flag("gateway.self", own);
                flag("gateway.members", self.members.clone());
            }
        }
        arguments.extend(self.flags.iter().cloned());
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_names_itself_by_the_address_that_others_call() {
        let addresses = Addresses {
            grpc: Some(([127, 0, 0, 1], 1).into()),
            http: Some(([127, 0, 0, 1], 2).into()),
            web: ([127, 0, 0, 1], 3).into(),
        };
        let receiver = ServiceSpec::receiver("r", addresses, Path::new("f"), "e");
        let expected = [
            "--config.file=f",
            "--web.listen-address=127.0.0.1:3",
            "--exporter.endpoints=e",
            "--shard.listen-address=127.0.0.1:1",
            "--shard.self=127.0.0.1:1",
            "--shard.members=m",
            "--more",
        ];
        assert_eq!(receiver.member_of("m").flag("--more").arguments(), expected);
        let gateway = ServiceSpec::gateway("g", addresses, "e").member_of("m");
        assert!(
            gateway
                .arguments()
                .contains(&"--gateway.self=127.0.0.1:1".to_owned())
        );
    }

    #[test]
    fn a_service_without_a_group_has_no_members() {
        let gateway = ServiceSpec::gateway("g", Addresses::web(([127, 0, 0, 1], 3).into()), "e");
        let expected = ["--web.listen-address=127.0.0.1:3", "--exporter.endpoints=e"];
        assert_eq!(gateway.arguments(), expected);
    }
}
