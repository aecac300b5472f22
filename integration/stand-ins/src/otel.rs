//! An application that pushes metrics to the gateway with the OpenTelemetry SDK.

use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use tokio::task::spawn_blocking;

/// `service.name` of the application.
pub const SERVICE: &str = "demo-sdk";
/// `service.instance.id` of the application.
pub const INSTANCE: &str = "sdk-0";
/// Prometheus name of the application's counter.
pub const COUNTER: &str = "demo_orders_total";

/// An application that takes orders and pushes metrics about them.
#[derive(Debug)]
pub struct Pusher {
    provider: SdkMeterProvider,
    orders: opentelemetry::metrics::Counter<u64>,
    duration: opentelemetry::metrics::Histogram<f64>,
    pushed: u64,
}

// === impl Pusher ===

impl Pusher {
    /// Creates an application that pushes to the gateway at `gateway` (`host:port`).
    ///
    /// # Errors
    /// Returns an error if the SDK cannot build its exporter.
    pub fn new(gateway: &str) -> anyhow::Result<Self> {
        let exporter = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{gateway}"))
            .build()?;
        let attributes = [KeyValue::new("service.instance.id", INSTANCE)];
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attributes(attributes);
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter).build())
            .with_resource(resource.build())
            .build();
        let meter = provider.meter("integration");
        Ok(Self {
            orders: meter
                .u64_counter("demo.orders")
                .with_description("Orders")
                .build(),
            duration: meter
                .f64_histogram("demo.order.duration")
                .with_unit("s")
                .build(),
            provider,
            pushed: 0,
        })
    }

    /// Takes one order, pushes the metrics and waits for the gateway's response.
    ///
    /// Runs on a blocking thread because the SDK blocks. The inner result is the
    /// outcome of the push.
    ///
    /// # Errors
    /// Returns an error if the application panics.
    pub async fn push(mut self) -> anyhow::Result<(Self, anyhow::Result<()>)> {
        let pushing = spawn_blocking(move || {
            self.orders.add(1, &[KeyValue::new("kind", "book")]);
            self.duration.record(0.25, &[]);
            self.pushed += 1;
            let pushed = self.provider.force_flush();
            (self, pushed.map_err(Into::into))
        });
        Ok(pushing.await?)
    }

    /// Current value of the counter.
    pub fn orders(&self) -> u64 {
        self.pushed
    }
}
