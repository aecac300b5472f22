//! Handles a push from its first byte to its result, for both protocols.
//!
//! A push is one OTLP Export request of a client.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use tokio::time::{Instant, timeout_at};

use crate::{
    admission::{Admission, AdmissionMetrics, Permit},
    body::{self, BodyLimits, Compression, Encoding},
    export_result::ExportResult,
    intake::{Intake, PushSource},
    invalid_text::InvalidText,
    limits::LimitArgs,
    push_error::{PushError, RetryCause, RetryLater},
};

/// Handles pushes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PushHandler {
    admission: Admission,
    intake: Intake,
    invalid_text: InvalidText,
    limits: BodyLimits,
    ack_timeout: Duration,
}

/// Options of a push from its headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PushOptions {
    /// Timeout of the client, if it sent one.
    pub(crate) timeout: Option<Duration>,
    /// Set if the client is another gateway that forwarded the push.
    pub(crate) from_peer: bool,
}

// === impl PushHandler ===

impl PushHandler {
    pub(crate) fn new(
        admission: Admission,
        intake: Intake,
        invalid_text: InvalidText,
        limits: &LimitArgs,
    ) -> Self {
        Self {
            admission,
            intake,
            invalid_text,
            limits: BodyLimits::new(limits),
            ack_timeout: limits.ack_timeout,
        }
    }

    pub(crate) fn metrics(&self) -> &AdmissionMetrics {
        self.admission.metrics()
    }

    /// Admits a push and reads its body.
    ///
    /// # Errors
    /// Returns an error if the push is not admitted, or its body is too large or too slow.
    pub(crate) async fn receive<B>(
        &self,
        request: &Parts,
        body: B,
    ) -> Result<(Bytes, Permit), PushError>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        let mut permit = self.admission.admit(request)?;
        self.admission.update_gauges();
        let bytes = body::collect(body, self.limits, &mut permit).await?;
        Ok((bytes, permit))
    }

    /// Decodes the body, puts the data into the outbox and waits for the result.
    ///
    /// # Errors
    /// Returns an error if the body cannot be decoded, the outbox is full, or the backend
    /// does not answer within the timeout of the client or of this gateway.
    pub(crate) async fn process(
        &self,
        (bytes, permit): (Bytes, Permit),
        compression: Compression,
        encoding: Encoding,
        options: PushOptions,
    ) -> Result<ExportResult, PushError> {
        let timeout = options.timeout.unwrap_or(Duration::MAX);
        let deadline = Instant::now() + timeout.min(self.ack_timeout);
        let decoded = body::decode(bytes, compression, encoding, self.limits, permit).await;
        self.admission.update_gauges();
        let (decoded, mut permit) = decoded?;
        if decoded.is_repaired {
            self.invalid_text.record(permit.client);
        }
        let source = PushSource {
            client: permit.client,
            from_peer: options.from_peer,
        };
        let reserve = &mut |bytes| permit.reserve_more(bytes);
        let accepted = self.intake.accept(decoded, &source, reserve)?;
        permit.release_memory(accepted.bytes());
        self.admission.update_gauges();
        match timeout_at(deadline, self.intake.result(accepted, deadline)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(RetryLater::new(RetryCause::Unanswered).into()),
        }
    }

    /// Counts the response to a push.
    pub(crate) fn record_response<T>(
        &self,
        protocol: &'static str,
        status: impl ToString,
        result: &Result<T, PushError>,
    ) {
        self.metrics().record_response(protocol, status);
        if let Err(error) = result {
            self.metrics().record_error(protocol, error);
        }
        self.admission.update_gauges();
    }
}
