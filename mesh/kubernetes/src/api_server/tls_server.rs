//! TLS servers for tests of clients.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// An HTTP/2 server whose responses never end.
#[derive(Debug, Default)]
pub(super) struct Endless {
    /// Connections that were opened.
    pub(super) connections: AtomicUsize,
    /// Requests that were received.
    pub(super) requests: AtomicUsize,
}

/// Starts a server for `localhost`, which passes each request to `respond`. Returns its port
/// and its certificate as PEM.
pub(super) async fn serve(
    respond: impl Fn(Request<Incoming>) -> Response<String> + Clone + Send + Sync + 'static,
) -> (u16, String) {
    let (port, certificate, mut connections) = listen(b"http/1.1").await;
    tokio::spawn(async move {
        while let Some(stream) = connections.recv().await {
            let respond = respond.clone();
            tokio::spawn(async move {
                let service =
                    service_fn(|request| std::future::ready(Ok::<_, Infallible>(respond(request))));
                let io = TokioIo::new(stream);
                let _ = http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    (port, certificate)
}

/// Starts an HTTP/2 server for `localhost` that allows `max_streams` on a connection. Returns
/// its port and its certificate as PEM.
pub(super) async fn serve_endless(max_streams: u32) -> (u16, String, Arc<Endless>) {
    let (port, certificate, mut connections) = listen(b"h2").await;
    let endless = Arc::new(Endless::default());
    let counts = endless.clone();
    tokio::spawn(async move {
        while let Some(stream) = connections.recv().await {
            let counts = counts.clone();
            counts.connections.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let service = service_fn(|_| {
                    counts.requests.fetch_add(1, Relaxed);
                    let body =
                        StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
                    std::future::ready(Ok::<_, Infallible>(Response::new(body)))
                });
                let _ = http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(max_streams)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (port, certificate, endless)
}

/// Accepts TLS connections to `localhost` with this protocol.
async fn listen(
    protocol: &[u8],
) -> (
    u16,
    String,
    tokio::sync::mpsc::Receiver<TlsStream<TcpStream>>,
) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(mesh_net::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = sender.send(stream).await;
                }
            });
        }
    });
    (port, issued.cert.pem(), receiver)
}
