//! What a listener counts.

use std::{error::Error, io};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rustls::CertificateError;

use super::Limits;

/// What the listeners of a service count, by listener.
#[derive(Clone, Debug, Default)]
pub struct ServeMetrics {
    families: Families,
    listener: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Families {
    open: Family<Listener, Gauge>,
    limit: Family<Listener, Gauge>,
    accepted: Family<Listener, Counter>,
    closed: Family<Reason, Counter>,
    handshakes: Family<Reason, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    listener: &'static str,
    reason: &'static str,
}

/// Why a connection was not left to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// No request came in time.
    Silent,
    /// It has reached its age.
    Aged,
    /// The service stops.
    Stopping,
    /// It broke, or what came over it was no HTTP.
    Broken,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Gauge);

// === impl ServeMetrics ===

impl ServeMetrics {
    /// Registers what all listeners count.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Families {
            open,
            limit,
            accepted,
            closed,
            handshakes,
        } = metrics.families.clone();
        registry.register("connections", "Connections that are open", open);
        registry.register("connections_limit", "Connections there may be", limit);
        registry.register("connections_accepted", "Connections accepted", accepted);
        registry.register(
            "connections_closed",
            "Connections that were ended by this side or broke, by reason",
            closed,
        );
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that failed, by reason",
            handshakes,
        );
        metrics
    }

    /// The same for one listener.
    pub fn of(&self, listener: &'static str, limits: &Limits) -> Self {
        let max = i64::try_from(limits.max_connections).unwrap_or(i64::MAX);
        let limit = self.families.limit.get_or_create(&Listener { listener });
        limit.set(max);
        Self {
            families: self.families.clone(),
            listener,
        }
    }

    pub(super) fn opened(&self) -> Open {
        let listener = Listener {
            listener: self.listener,
        };
        self.families.accepted.get_or_create(&listener).inc();
        let open = self.families.open.get_or_create_owned(&listener);
        open.inc();
        Open(open)
    }

    pub(super) fn closed(&self, why: Closed) {
        let reason = match why {
            Closed::Silent => "silent",
            Closed::Aged => "aged",
            Closed::Stopping => "stopping",
            Closed::Broken => "broken",
        };
        self.families
            .closed
            .get_or_create(&self.reason(reason))
            .inc();
    }

    pub(super) fn handshake_failed(&self, error: &io::Error) {
        let reason = self.reason(handshake_failure(error));
        self.families.handshakes.get_or_create(&reason).inc();
    }

    fn reason(&self, reason: &'static str) -> Reason {
        Reason {
            listener: self.listener,
            reason,
        }
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A bounded name for what went wrong.
fn handshake_failure(error: &io::Error) -> &'static str {
    let inner: Option<&(dyn Error + Send + Sync)> = error.get_ref();
    let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return "broken";
    };
    match error {
        rustls::Error::NoCertificatesPresented => "no_certificate",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "expired_certificate",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "unknown_issuer",
        rustls::Error::InvalidCertificate(_) => "invalid_certificate",
        rustls::Error::AlertReceived(_) => "refused_by_client",
        rustls::Error::InvalidMessage(_) => "no_tls",
        rustls::Error::PeerIncompatible(_) => "incompatible",
        _ => "other",
    }
}
