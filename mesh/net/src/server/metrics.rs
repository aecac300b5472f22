//! Metrics of a listener.

use std::{error::Error, io};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rustls::CertificateError;

use super::Limits;

/// Metrics of a service's listeners, with the listener's name as a label.
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
    refused: Family<Listener, Counter>,
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

/// Reason for which a connection ended, other than the client closing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// No request arrived in time.
    Silent,
    /// The client did not read a response in time.
    Unread,
    /// The client sent more of a refused request than the server discards.
    BodyLimit,
    /// The client had too many connections open.
    ClientLimit,
    /// The connection reached its maximum age.
    Aged,
    /// The service is shutting down.
    Shutdown,
    /// The connection failed, or the client did not send valid HTTP.
    Broken,
}

/// Reasons of failed handshakes, see [`handshake_failure`].
const HANDSHAKE_FAILURES: [&str; 9] = [
    "broken",
    "no_certificate",
    "expired_certificate",
    "unknown_issuer",
    "invalid_certificate",
    "refused_by_client",
    "no_tls",
    "incompatible",
    "other",
];

/// Guard that counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection(Gauge);

// === impl ServeMetrics ===

impl ServeMetrics {
    /// Registers the metrics of all listeners.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Families {
            open,
            limit,
            accepted,
            closed,
            handshakes,
            refused,
        } = metrics.families.clone();
        registry.register("connections", "Number of open connections", open);
        registry.register(
            "connections_limit",
            "Maximum number of open connections",
            limit,
        );
        registry.register(
            "connections_accepted",
            "Number of accepted connections",
            accepted,
        );
        registry.register(
            "connections_closed",
            "Number of connections that the server closed or that failed, by reason",
            closed,
        );
        registry.register(
            "tls_handshake_failures",
            "Number of failed TLS handshakes, by reason",
            handshakes,
        );
        registry.register(
            "connections_requests_refused",
            "Number of requests refused because too many were in flight on all connections",
            refused,
        );
        metrics
    }

    /// Returns the metrics of one listener, and sets its connection limit.
    pub fn for_listener(&self, listener: &'static str, limits: &Limits) -> Self {
        let max = i64::try_from(limits.max_connections).unwrap_or(i64::MAX);
        let limit = self.families.limit.get_or_create(&Listener { listener });
        limit.set(max);
        let _ = self.families.open.get_or_create(&Listener { listener });
        let _ = self.families.accepted.get_or_create(&Listener { listener });
        let _ = self.families.refused.get_or_create(&Listener { listener });
        for reason in CloseReason::ALL.map(CloseReason::as_str) {
            let _ = self
                .families
                .closed
                .get_or_create(&Reason { listener, reason });
        }
        for reason in HANDSHAKE_FAILURES {
            let _ = self
                .families
                .handshakes
                .get_or_create(&Reason { listener, reason });
        }
        Self {
            families: self.families.clone(),
            listener,
        }
    }

    pub(super) fn opened(&self) -> OpenConnection {
        let listener = Listener {
            listener: self.listener,
        };
        self.families.accepted.get_or_create(&listener).inc();
        let open = self.families.open.get_or_create_owned(&listener);
        open.inc();
        OpenConnection(open)
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        let reason = reason.as_str();
        self.families
            .closed
            .get_or_create(&self.reason(reason))
            .inc();
    }

    pub(super) fn request_refused(&self) {
        let listener = Listener {
            listener: self.listener,
        };
        self.families.refused.get_or_create(&listener).inc();
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

// === impl CloseReason ===

impl CloseReason {
    const ALL: [Self; 7] = [
        Self::Silent,
        Self::Unread,
        Self::BodyLimit,
        Self::ClientLimit,
        Self::Aged,
        Self::Shutdown,
        Self::Broken,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Unread => "unread",
            Self::BodyLimit => "body_limit",
            Self::ClientLimit => "client_limit",
            Self::Aged => "aged",
            Self::Shutdown => "stopping",
            Self::Broken => "broken",
        }
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Returns the reason of a failed handshake as a label value.
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
