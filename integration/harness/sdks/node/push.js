// Records metrics with the OpenTelemetry SDK. Exports each collection twice: to the gateway
// and to Prometheus's own OTLP endpoint.
//
//     push.js GATEWAY_GRPC GATEWAY_HTTP PROMETHEUS
//
// There is one service per protocol and temporality, named after them.

import { setTimeout as sleep } from "node:timers/promises";
import { OTLPMetricExporter as Grpc } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { OTLPMetricExporter as Json } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter as Protobuf } from "@opentelemetry/exporter-metrics-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  AggregationType,
  InstrumentType,
  MeterProvider,
  MetricReader,
} from "@opentelemetry/sdk-metrics";

const ROUNDS = 3;

// A reader that collects on demand.
class Reader extends MetricReader {
  async onForceFlush() {}
  async onShutdown() {}
}

// An application with instruments of all kinds.
class Application {
  constructor(service, temporality) {
    const delta = [InstrumentType.COUNTER, InstrumentType.HISTOGRAM];
    this.reader = new Reader({
      aggregationTemporalitySelector: (kind) =>
        delta.includes(kind) ? temporality : AggregationTemporality.CUMULATIVE,
    });
    const provider = new MeterProvider({
      readers: [this.reader],
      resource: resourceFromAttributes({
        "service.namespace": "sdks",
        "service.name": service,
        "service.instance.id": "one",
        "deployment.environment.name": "test",
      }),
      views: [
        {
          instrumentName: "*.exponential",
          aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM },
        },
      ],
    });
    const meter = provider.getMeter("sdk", "1.0");
    this.requests = meter.createCounter("http.requests", {
      unit: "{request}",
      description: "Requests",
    });
    this.bytes = meter.createCounter("http.bytes", { unit: "By" });
    this.sessions = meter.createUpDownCounter("sessions");
    this.temperature = meter.createGauge("room.temperature", { unit: "Cel" });
    this.ratio = meter.createGauge("cpu.utilization", { unit: "1" });
    this.duration = meter.createHistogram("http.duration", { unit: "s" });
    this.size = meter.createHistogram("size.exponential", { unit: "By" });
  }

  record(turn) {
    const attributes = {
      "http.method": "GET",
      "http.status_code": 200,
      ok: true,
      ratio: 0.5,
      tags: ["a", "b"],
    };
    this.requests.add(turn + 1, attributes);
    this.requests.add(1, { "http.method": "PUT" });
    this.bytes.add(1.5 * (turn + 1));
    this.sessions.add(2 - turn);
    this.temperature.record(1.5 - turn);
    this.ratio.record(0.25);
    for (const value of [0.001 * (turn + 1), 0.3, 7.0, 1e6]) {
      this.duration.record(value, { "http.method": "GET" });
      this.size.record(value * 1000 + 1);
    }
  }
}

function exported(exporter, data) {
  return new Promise((resolve, reject) =>
    exporter.export(data, ({ code, error }) =>
      code === 0 ? resolve() : reject(error ?? new Error("export failed")),
    ),
  );
}

const [gatewayGrpc, gatewayHttp, prometheus] = process.argv.slice(2);
const toPrometheus = new Protobuf({ url: `${prometheus}/api/v1/otlp/v1/metrics` });
const protocols = {
  grpc: new Grpc({ url: gatewayGrpc }),
  "http-protobuf": new Protobuf({ url: `${gatewayHttp}/v1/metrics` }),
  "http-json": new Json({ url: `${gatewayHttp}/v1/metrics` }),
};
for (const [protocol, toGateway] of Object.entries(protocols)) {
  for (const temporality of ["CUMULATIVE", "DELTA"]) {
    const service = `node-${protocol}-${temporality.toLowerCase()}`;
    const application = new Application(service, AggregationTemporality[temporality]);
    for (let turn = 0; turn < ROUNDS; turn++) {
      application.record(turn);
      const { resourceMetrics, errors } = await application.reader.collect();
      if (errors.length > 0) throw errors[0];
      await exported(toGateway, resourceMetrics);
      await exported(toPrometheus, resourceMetrics);
      // The next sample needs another millisecond timestamp.
      await sleep(10);
    }
  }
}
process.exit(0);
