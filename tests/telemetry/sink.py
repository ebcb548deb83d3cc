"""An OTLP/HTTP endpoint of the tests' own, which decodes what it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric


class Sink(ThreadingHTTPServer):
    """An OTLP/HTTP endpoint that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SinkHandler)
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.traces: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        """Its address, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self.server_port}"

    def last(self) -> dict[str, dict[str, Metric]]:
        """The last metrics of each process that sent any, by its service.instance.id and by name."""
        last: dict[str, dict[str, Metric]] = {}
        for request in self.metrics:
            (resource,) = request.resource_metrics
            (process,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.instance.id"]
            last[process] = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return last


class SinkHandler(BaseHTTPRequestHandler):
    """Takes a POST of either signal."""

    server: Sink

    def do_POST(self) -> None:
        """Keeps the body."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.endswith("/v1/metrics"):
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
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
