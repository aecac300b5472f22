//! Client of one exporter.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt, Stream, future::BoxFuture};
use http::Uri;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

use mesh_contract::export::{Export, ExportError};
use mesh_wire::{compression::Compression, otlp::EXPORT_PATH};

use crate::{
    Outcome, client,
    connection::{Connecting, Connection},
};

/// A [`Service`] that sends Exports to one exporter. Ready while its connection is up.
pub(crate) struct Endpoint {
    /// URI of the Export method.
    uri: Uri,
    compression: Compression,
    receiver: watch::Receiver<Option<Connection>>,
    changes: WatchStream<Option<Connection>>,
    /// The last value of `changes`.
    connection: Option<Connection>,
    /// Task that reconnects. Requests in flight hold it too: an endpoint that discovery
    /// removes completes them first.
    task: Arc<AbortOnDropHandle<()>>,
}

// === impl Endpoint ===

impl Endpoint {
    /// Starts to connect, in a task that ends with the endpoint.
    pub(crate) fn connect(connecting: Connecting, compression: Compression) -> Self {
        let (sender, receiver) = watch::channel(None);
        let uri = |authority: &str| format!("http://{authority}{EXPORT_PATH}").parse();
        let uri = uri(&connecting.address).or_else(|_| {
            // Affects the :authority header only, which exporters ignore.
            uri("exporter")
        });
        let task = tokio::spawn(connecting.run(sender));
        Self {
            uri: uri.unwrap_or_default(),
            compression,
            changes: WatchStream::new(receiver.clone()),
            receiver,
            connection: None,
            task: Arc::new(AbortOnDropHandle::new(task)),
        }
    }

    /// Returns the connection, `None` while it is down.
    pub(crate) fn connection(&self) -> watch::Receiver<Option<Connection>> {
        self.receiver.clone()
    }
}

impl Service<Export> for Endpoint {
    type Response = Outcome;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Outcome, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        while let Poll::Ready(Some(connection)) = Pin::new(&mut self.changes).poll_next(context) {
            self.connection = connection;
        }
        match &self.connection {
            Some(connection) if !connection.is_closed() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn call(&mut self, export: Export) -> Self::Future {
        let (connection, uri) = (self.connection.clone(), self.uri.clone());
        let (compression, task) = (self.compression, self.task.clone());
        async move {
            let outcome = match connection {
                Some(connection) => client::send(connection, uri, export, compression).await,
                None => Err(ExportError::Unsent("not connected".into())),
            };
            drop(task);
            Ok(outcome)
        }
        .boxed()
    }
}
