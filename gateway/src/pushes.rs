//! A push from its first byte to its answer, whichever protocol it came by.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use tokio::time::{Instant, timeout_at};

use crate::{
    admission::{Admission, AdmissionMetrics, Admitted},
    args::LimitArgs,
    body::{self, Compression, Encoding, Limits},
    intake::{Intake, Push, Taken},
    refusal::{Busy, Cause, Refusal},
};

/// Takes pushes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pushes {
    admission: Admission,
    intake: Intake,
    limits: Limits,
    ack_timeout: Duration,
}

/// What a client says of a push beside its body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hints {
    /// How long it waits for the answer.
    pub(crate) timeout: Option<Duration>,
    /// It is another gateway, which has passed the push on.
    pub(crate) passed_on: bool,
}

// === impl Pushes ===

impl Pushes {
    pub(crate) fn new(admission: Admission, intake: Intake, limits: &LimitArgs) -> Self {
        Self {
            admission,
            intake,
            limits: Limits::new(limits),
            ack_timeout: Duration::from_secs(limits.ack_timeout_seconds),
        }
    }

    pub(crate) fn metrics(&self) -> &AdmissionMetrics {
        self.admission.metrics()
    }

    /// Lets a push in and reads its body.
    pub(crate) async fn receive<B>(
        &self,
        request: &Parts,
        body: B,
    ) -> Result<(Bytes, Admitted), Refusal>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        let mut admitted = self.admission.admit(request)?;
        self.admission.show();
        let bytes = body::collect(body, self.limits, &mut admitted).await?;
        Ok((bytes, admitted))
    }

    /// Takes what was received and answers for it, within `timeout` where the
    /// client has set one.
    pub(crate) async fn take(
        &self,
        (bytes, admitted): (Bytes, Admitted),
        compression: Compression,
        encoding: Encoding,
        hints: Hints,
    ) -> Result<Taken, Refusal> {
        let deadline =
            Instant::now() + hints.timeout.unwrap_or(Duration::MAX).min(self.ack_timeout);
        let decoded = body::decode(bytes, compression, encoding, self.limits, admitted).await;
        self.admission.show();
        let (request, mut admitted) = decoded?;
        let push = Push {
            client: admitted.client,
            passed_on: hints.passed_on,
        };
        let accepted = self.intake.accept(request, &push)?;
        admitted.release_memory();
        self.admission.show();
        match timeout_at(deadline, self.intake.answer(accepted, deadline)).await {
            Ok(taken) => Ok(taken?),
            Err(_) => Err(Busy::new(Cause::Unanswered).into()),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered<T>(
        &self,
        protocol: &'static str,
        status: impl ToString,
        answer: &Result<T, Refusal>,
    ) {
        self.metrics().answered(protocol, status);
        if let Err(refusal) = answer {
            self.metrics().refused(protocol, refusal);
        }
        self.admission.show();
    }
}
