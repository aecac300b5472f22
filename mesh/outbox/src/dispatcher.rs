//! The dispatcher: sends the batches that are ready, in as many Exports as fit.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use tonic::Code;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use mesh_contract::{
    export::{Export, ExportError, FailureReport, Progress},
    report::{BatchSizes, ExportResponse},
};

use crate::{
    flight::{Arrival, Flight},
    lanes::{Lanes, Next},
    request::Request,
};

/// Sends the batches of all lanes.
pub(crate) struct Dispatcher<S> {
    lanes: Arc<Lanes>,
    exports: S,
    flights: JoinSet<()>,
}

/// Timeout of a question for the destinations. An exporter answers at once.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Time to wait if nothing is due. It only has to be long.
const FAR: Duration = Duration::from_secs(3600);

// === impl Dispatcher ===

impl<S> Dispatcher<S>
where
    S: Service<Export, Response = ExportResponse, Error = ExportError> + Clone + Send + 'static,
    S::Future: Send,
{
    pub(crate) fn new(lanes: Arc<Lanes>, exports: S) -> Self {
        Self {
            lanes,
            exports,
            flights: JoinSet::new(),
        }
    }

    /// Sends batches until the outbox is closed and empty.
    pub(crate) async fn run(mut self) {
        let lanes = self.lanes.clone();
        loop {
            let wakeup = lanes.wakeup();
            match lanes.next() {
                Next::End => return,
                Next::Flight(flight) => {
                    let (lanes, exports) = (self.lanes.clone(), self.exports.clone());
                    self.flights.spawn(fly(lanes, exports, flight));
                }
                Next::Question => {
                    let (lanes, exports) = (self.lanes.clone(), self.exports.clone());
                    self.flights.spawn(ask(lanes, exports));
                }
                Next::Wait(until) => {
                    let until = until.unwrap_or_else(|| Instant::now() + FAR);
                    tokio::select! {
                        biased;
                        () = wakeup => {}
                        Some(_) = self.flights.join_next() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

/// Makes one attempt at the batches of a flight.
async fn fly<S>(lanes: Arc<Lanes>, exports: S, mut flight: Flight)
where
    S: Service<Export, Response = ExportResponse, Error = ExportError>,
{
    let Some(request) = lanes.request(&mut flight).await else {
        return lanes.abandon(&flight);
    };
    let began = Instant::now();
    let export = export(request, &flight, began + flight.timeout);
    let result = send(exports, export).await;
    log(&flight, &result);
    lanes.land(&flight, Arrival { began, result });
}

/// Asks an exporter for its destinations, by an Export without batches.
async fn ask<S>(lanes: Arc<Lanes>, exports: S)
where
    S: Service<Export, Response = ExportResponse, Error = ExportError>,
{
    let question = Export {
        context: Arc::default(),
        payload: Bytes::new(),
        batches: BatchSizes::default(),
        destination: None,
        samples: 0,
        deadline: Instant::now() + QUESTION_TIMEOUT,
        progress: Vec::new(),
    };
    lanes.record_answer(&send(exports, question).await);
}

async fn send<S>(exports: S, export: Export) -> Result<ExportResponse, ExportError>
where
    S: Service<Export, Response = ExportResponse, Error = ExportError>,
{
    let late = || ExportError::Unknown {
        code: Code::DeadlineExceeded,
        message: "no response before the deadline".to_owned(),
        is_broken: false,
        report: FailureReport::default(),
    };
    let sent = timeout_at(export.deadline, exports.oneshot(export)).await;
    sent.unwrap_or_else(|_| Err(late()))
}

fn export(request: Request, flight: &Flight, deadline: Instant) -> Export {
    let batches = flight.batches.iter();
    let progress: Vec<Progress> = batches.map(|batch| batch.progress.clone()).collect();
    Export {
        context: request.context,
        payload: request.payload,
        batches: BatchSizes::new(request.sizes),
        destination: flight.destination.clone(),
        samples: flight.batches.iter().map(|batch| batch.samples).sum(),
        deadline,
        progress,
    }
}

fn log(flight: &Flight, result: &Result<ExportResponse, ExportError>) {
    let (destination, batches) = (flight.destination.as_deref(), flight.batches.len());
    match result {
        Ok(_) => {}
        Err(error @ ExportError::Unsent(_)) => {
            debug!(destination, batches, %error, "Export not sent, retrying");
        }
        Err(error @ ExportError::Retry { after, .. }) => {
            debug!(destination, batches, %error, ?after, "Exporter asked for a retry");
        }
        Err(error @ ExportError::Unknown { .. }) => {
            warn!(
                destination,
                batches,
                %error,
                "Export outcome unknown, retrying after the deadline"
            );
        }
    }
}
