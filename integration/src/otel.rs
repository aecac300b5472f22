//! An application with the OpenTelemetry SDK that pushes to the gateway.

use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use tokio::task::spawn_blocking;

/// Its `service.name`.
pub const SERVICE: &str = "demo-sdk";
/// Its `service.instance.id`.
pub const INSTANCE: &str = "sdk-0";
/// What its counter is called in Prometheus.
pub const COUNTER: &str = "demo_orders_total";

/// The application.
#[derive(Debug)]
pub struct Pusher {
    provider: SdkMeterProvider,
    orders: opentelemetry::metrics::Counter<u64>,
    duration: opentelemetry::metrics::Histogram<f64>,
    pushed: u64,
}

// === impl Pusher ===

impl Pusher {
    /// An application that pushes to the gateway at this address.
    ///
    /// # Errors
    /// Where the exporter cannot be made.
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

    /// Takes an order, and pushes until the gateway has answered; on a thread that may
    /// block, as the SDK does. Returns whether the push was taken.
    ///
    /// # Errors
    /// Where the application panics.
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

    /// The counter's value by now.
    pub fn orders(&self) -> u64 {
        self.pushed
    }
}
