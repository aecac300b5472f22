//! A gateway in this process, a fake exporter that records, and clients.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use mesh_base::shutdown::Trigger;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_client::MetricsServiceClient,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
};
use parking_lot::Mutex;
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::{
    codec::CompressionEncoding,
    transport::{Channel, Server, server::TcpIncoming},
};

/// A fake exporter that stores everything. It can be told to delay its responses.
#[derive(Clone)]
pub(crate) struct Exporter {
    stored: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    open: watch::Sender<bool>,
}

/// A running gateway and its exporter.
pub(crate) struct Gateway {
    pub(crate) addresses: gateway::Addresses,
    pub(crate) exporter: Exporter,
    trigger: Trigger,
    task: JoinHandle<()>,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[tonic::async_trait]
impl MetricsService for Exporter {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.unwrap();
        self.stored.lock().push(request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

impl Exporter {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let exporter = Self {
            stored: Arc::default(),
            open: watch::Sender::new(true),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = MetricsServiceServer::new(exporter.clone())
            .max_decoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Zstd);
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (exporter, address)
    }

    /// Lets the exporter answer, or makes it wait.
    pub(crate) fn let_answer(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Stored metrics, each with its resource.
    pub(crate) fn stored(&self) -> Vec<(Resource, Metric)> {
        let stored = self.stored.lock().clone();
        let resources = stored.into_iter().flat_map(|s| s.resource_metrics);
        let metrics = resources.flat_map(|resource| {
            let own = resource.resource.unwrap_or_default();
            let scopes = resource.scope_metrics.into_iter();
            let metrics = scopes.flat_map(|scope| scope.metrics);
            metrics.map(move |metric| (own.clone(), metric))
        });
        metrics.collect()
    }
}

impl Gateway {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self::with_exporter(Exporter::start().await, &flags).await
    }

    /// Starts a gateway with an exporter that other gateways may share.
    pub(crate) async fn with_exporter(
        (exporter, address): (Exporter, SocketAddr),
        flags: &[String],
    ) -> Self {
        let mut all = vec![
            "gateway".to_owned(),
            format!("--exporter.endpoints={address}"),
        ];
        for port in ["otlp.grpc", "otlp.http", "web"] {
            let flag = format!("--{port}.listen-address=");
            if !flags.iter().any(|given| given.starts_with(&flag)) {
                all.push(format!("{flag}127.0.0.1:0"));
            }
        }
        all.extend(flags.iter().cloned());
        let args = gateway::Args::try_parse_from(all).unwrap();
        let bound = gateway::bind(args).await.unwrap();
        let (trigger, shutdown) = mesh_base::shutdown::channel();
        Self {
            addresses: bound.addresses,
            exporter,
            trigger,
            task: tokio::spawn(async move { bound.run(shutdown).await.unwrap() }),
        }
    }

    pub(crate) async fn stop(self) {
        self.trigger.fire();
        self.task.await.unwrap();
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let url = format!("http://{}/v1/metrics", self.addresses.http);
        request(&url, method, headers, body.into()).await
    }

    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.request("POST", headers, body).await
    }

    pub(crate) async fn grpc(&self) -> MetricsServiceClient<Channel> {
        let url = format!("http://{}", self.addresses.grpc);
        MetricsServiceClient::connect(url).await.unwrap()
    }

    /// Sends encoded bytes as a push over OTLP/gRPC. Returns the partial success.
    pub(crate) async fn grpc_raw(&self, body: &[u8]) -> ExportMetricsPartialSuccess {
        let url = format!("http://{}", self.addresses.grpc);
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let request = tonic::Request::new(Bytes::copy_from_slice(body));
        let path = http::uri::PathAndQuery::from_static(mesh_wire::otlp::EXPORT_PATH);
        let answer = client.unary(request, path, mesh_wire::otlp::RawCodec).await;
        let message = answer.unwrap().into_inner();
        let response = ExportMetricsServiceResponse::decode(message).unwrap();
        response.partial_success.unwrap_or_default()
    }

    /// Value of a metric, given with its labels, on the admin port.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.addresses.web);
        let page = request(&url, "GET", &[], Bytes::new()).await.body;
        let page = String::from_utf8(page.to_vec()).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().unwrap_or(f64::NAN))
    }

    /// Waits until a metric has the given value.
    pub(crate) async fn until(&self, name: &str, value: f64) {
        let reached = async {
            while self.metric(name).await != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), reached).await;
        waited.unwrap_or_else(|_| panic!("{name} was never {value}"));
    }
}

pub(crate) async fn request(
    url: &str,
    method: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = request.body(Full::new(body)).unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or("")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Partial success of a protobuf response: number of rejected points, and message.
    pub(crate) fn partial_success(&self) -> Option<(i64, String)> {
        let response = ExportMetricsServiceResponse::decode(self.body.clone()).unwrap();
        let partial = response.partial_success?;
        Some((partial.rejected_data_points, partial.error_message))
    }
}

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn now_nanos() -> u64 {
    mesh_base::clock::Clock::system().now_ms() as u64 * 1_000_000
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

pub(crate) fn number(value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: now_nanos(),
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    }
}

pub(crate) fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Default::default()
    }
}

pub(crate) fn push(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope = ScopeMetrics {
        metrics,
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..Default::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    }
}

/// A push of one point.
pub(crate) fn one(name: &str) -> ExportMetricsServiceRequest {
    push(vec![gauge(name, vec![number(1.0)])])
}
