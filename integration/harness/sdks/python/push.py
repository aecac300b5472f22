"""Records metrics with the OpenTelemetry SDK. Exports each collection twice: to the gateway
and to Prometheus's own OTLP endpoint.

    push.py GATEWAY_GRPC GATEWAY_HTTP PROMETHEUS

There is one service per protocol and temporality, named after them, and an anonymous
service without an instance.
"""

import sys
import time

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as Grpc,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as Http,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExportResult,
)
from opentelemetry.sdk.metrics.view import (
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

ROUNDS = 3


class Application:
    """An application with instruments of all kinds."""

    def __init__(self, service, temporality, instance):
        preferred = {Counter: temporality, Histogram: temporality}
        self.reader = InMemoryMetricReader(preferred_temporality=preferred)
        resource = {
            "service.namespace": "sdks",
            "service.name": service,
            "deployment.environment.name": "test",
        }
        if instance:
            resource["service.instance.id"] = instance
        exponential = View(
            instrument_name="*.exponential",
            aggregation=ExponentialBucketHistogramAggregation(),
        )
        provider = MeterProvider(
            metric_readers=[self.reader],
            resource=Resource(resource),
            views=[exponential],
        )
        meter = provider.get_meter("sdk", "1.0")
        self.requests = meter.create_counter(
            "http.requests", unit="{request}", description="Requests"
        )
        self.bytes = meter.create_counter("http.bytes", unit="By")
        self.sessions = meter.create_up_down_counter("sessions")
        self.temperature = meter.create_gauge("room.temperature", unit="Cel")
        self.ratio = meter.create_gauge("cpu.utilization", unit="1")
        self.duration = meter.create_histogram("http.duration", unit="s")
        self.size = meter.create_histogram("size.exponential", unit="By")

    def record(self, turn):
        """Records a value with every instrument."""
        attributes = {
            "http.method": "GET",
            "http.status_code": 200,
            "ok": True,
            "ratio": 0.5,
            "tags": ("a", "b"),
        }
        self.requests.add(turn + 1, attributes)
        self.requests.add(1, {"http.method": "PUT"})
        self.bytes.add(1.5 * (turn + 1))
        self.sessions.add(2 - turn)
        self.temperature.set(1.5 - turn)
        self.ratio.set(0.25)
        for value in (0.001 * (turn + 1), 0.3, 7.0, 1e6):
            self.duration.record(value, {"http.method": "GET"})
            self.size.record(value * 1000 - 1)


def push(application, exporters):
    """Records and exports. Exits with an error if an export fails."""
    for turn in range(ROUNDS):
        application.record(turn)
        data = application.reader.get_metrics_data()
        for exporter in exporters:
            if exporter.export(data) is not MetricExportResult.SUCCESS:
                sys.exit(f"{exporter}: export failed")
        # The next sample needs another millisecond timestamp.
        time.sleep(0.01)


def main(gateway_grpc, gateway_http, prometheus):
    """Pushes with all protocols and temporalities."""
    to_prometheus = Http(endpoint=f"{prometheus}/api/v1/otlp/v1/metrics")
    protocols = {
        "grpc": Grpc(endpoint=gateway_grpc, insecure=True),
        "http-protobuf": Http(
            endpoint=f"{gateway_http}/v1/metrics", compression=Compression.Gzip
        ),
    }
    for protocol, to_gateway in protocols.items():
        for temporality in (
            AggregationTemporality.CUMULATIVE,
            AggregationTemporality.DELTA,
        ):
            service = f"python-{protocol}-{temporality.name.lower()}"
            application = Application(service, temporality, "one")
            push(application, (to_gateway, to_prometheus))
    anonymous = Application("anonymous", AggregationTemporality.CUMULATIVE, None)
    push(anonymous, (protocols["grpc"], to_prometheus))


main(*sys.argv[1:])
