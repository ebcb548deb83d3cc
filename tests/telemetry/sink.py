"""An OTLP/HTTP endpoint of the tests' own, which decodes what it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Sink(ThreadingHTTPServer):
    """An OTLP/HTTP endpoint that keeps what it is sent; while `refuses` is set, it keeps nothing and answers 400."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SinkHandler)
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.traces: list[ExportTraceServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        self.refuses = False

    @property
    def url(self) -> str:
        """Its address, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        """All spans that came."""
        return [s for t in self.traces for r in t.resource_spans for scope in r.scope_spans for s in scope.spans]

    def records(self) -> list[LogRecord]:
        """All log records that came."""
        return [e for t in self.logs for r in t.resource_logs for scope in r.scope_logs for e in scope.log_records]

    def last(self) -> dict[str, dict[str, Metric]]:
        """The last metrics of each process that sent any, by its service.instance.id and by name."""
        last: dict[str, dict[str, Metric]] = {}
        for request in self.metrics:
            (resource,) = request.resource_metrics
            (process,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.instance.id"]
            last[process] = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return last


class SinkHandler(BaseHTTPRequestHandler):
    """Takes a POST of any signal."""

    server: Sink

    def do_POST(self) -> None:
        """Keeps the body."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refuses:
            self.send_response(400)
            self.end_headers()
            return
        if self.path.endswith("/v1/metrics"):
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
        elif self.path.endswith("/v1/logs"):
            self.server.logs.append(ExportLogsServiceRequest.FromString(body))
        else:
            self.server.traces.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Discards log lines."""


@contextmanager
def receiving() -> Iterator[Sink]:
    """A sink that runs."""
    with Sink() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
