//! Decides which callers of the handover port are served.
//!
//! With mTLS, TLS itself has authenticated the caller. With a token file, the caller has to send
//! one of its tokens. With neither, the caller's address has to be that of a receiver that
//! discovery lists, or has listed within the away timeout. That keeps strangers out, but not a
//! process that can use the address of a receiver.

use std::{collections::BTreeSet, net::IpAddr};

use http::HeaderMap;
use mesh_net::bearer::BearerTokens;
use tokio::net::lookup_host;
use tonic::Status;

/// Authentication of callers.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Tokens of the group. The first one is sent to peers.
    pub tokens: Option<BearerTokens>,
    /// `true` if TLS accepts only callers with a certificate of the group.
    pub has_certificates: bool,
}

/// Receivers that an admitted caller may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// The caller is authenticated as a member of the group.
    AnyReceiver,
    /// The caller has the address of these listed receivers.
    Listed(BTreeSet<String>),
}

// === impl Access ===

impl Access {
    /// Returns true if callers are authenticated.
    pub(super) fn authenticates(&self) -> bool {
        self.tokens.is_some() || self.has_certificates
    }

    /// Admits a caller before its message is read. `listed` are the names of the receivers that
    /// discovery lists.
    ///
    /// # Errors
    /// Returns UNAUTHENTICATED or PERMISSION_DENIED with the reason.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        caller: IpAddr,
        listed: impl FnOnce() -> BTreeSet<String>,
    ) -> Result<Admitted, Status> {
        if let Some(tokens) = &self.tokens {
            tokens.check(headers).map_err(Status::unauthenticated)?;
        }
        if self.authenticates() {
            return Ok(Admitted::AnyReceiver);
        }
        let mut names = BTreeSet::new();
        for name in listed() {
            if has_address(&name, caller.to_canonical()).await {
                names.insert(name);
            }
        }
        if names.is_empty() {
            return Err(Status::permission_denied(format!(
                "{caller} is not the address of a receiver that --shard.members lists; list it, \
                 or authenticate with --shard.token-file or --shard.tls.*"
            )));
        }
        Ok(Admitted::Listed(names))
    }
}

/// Returns true if the host of `name` is this address.
async fn has_address(name: &str, address: IpAddr) -> bool {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical() == address,
        Err(_) => match lookup_host(name).await {
            Ok(mut resolved) => resolved.any(|it| it.ip().to_canonical() == address),
            Err(_) => false,
        },
    }
}

// === impl Admitted ===

impl Admitted {
    /// Checks that the admitted caller may name itself `sender`.
    ///
    /// # Errors
    /// Returns PERMISSION_DENIED otherwise.
    pub(super) fn check(&self, sender: &str) -> Result<(), Status> {
        match self {
            Self::AnyReceiver => Ok(()),
            Self::Listed(names) if names.contains(sender) => Ok(()),
            Self::Listed(_) => Err(Status::permission_denied(format!(
                "sender {sender:?} is not a listed receiver at the caller's address"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::AUTHORIZATION};
    use tonic::Code;

    use super::*;

    fn listed() -> BTreeSet<String> {
        [
            "10.0.0.1:9095",
            "10.0.0.1:9096",
            "[fd00::1]:9095",
            "localhost:9095",
        ]
        .map(str::to_owned)
        .into()
    }

    #[tokio::test]
    async fn admits_only_listed_addresses_without_authentication() {
        let access = Access::default();
        let headers = HeaderMap::new();
        let admit = async |ip: &str| access.admit(&headers, ip.parse().unwrap(), listed).await;
        let admitted = admit("::ffff:10.0.0.1").await.unwrap();
        admitted.check("10.0.0.1:9095").unwrap();
        admitted.check("10.0.0.1:9096").unwrap();
        // A listed receiver cannot speak for another one, listed or not.
        for sender in ["[fd00::1]:9095", "10.0.0.1:1", "victim:80"] {
            let status = admitted.check(sender).unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{sender}");
        }
        admit("fd00::1").await.unwrap();
        admit("127.0.0.1")
            .await
            .unwrap()
            .check("localhost:9095")
            .unwrap();
        let status = admit("10.0.0.2").await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }

    #[tokio::test]
    async fn a_token_is_required_if_there_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "new\nold\n").unwrap();
        let access = Access {
            tokens: Some(BearerTokens::watch("--shard.token-file", path).unwrap()),
            has_certificates: true,
        };
        let admit = async |token: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(token) = token {
                headers.insert(AUTHORIZATION, HeaderValue::from_static(token));
            }
            let caller = "10.0.0.1".parse().unwrap();
            access.admit(&headers, caller, listed).await
        };
        let admitted = admit(Some("Bearer old")).await;
        assert_eq!(admitted.unwrap(), Admitted::AnyReceiver);
        for wrong in [None, Some("Bearer other")] {
            let status = admit(wrong).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{wrong:?}");
        }
    }
}
