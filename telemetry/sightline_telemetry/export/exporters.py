"""Makes exporters and the resource, as the `OTEL_*` variables set them.

The SDK reads these variables itself; this module only sets defaults for those that are unset.
"""

import os
from collections.abc import Mapping
from importlib import import_module

from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.metrics import (
    Counter,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DEFAULTS = {
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",  # an exemplar must be visible while its latency spike still is
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_SERVICE_NAME": "sightline",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",  # other instrumentations then use the same attribute names as our spans
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",  # the SDK counts the spans and exports that it loses
}
# Our histograms are cumulative, so every instrument is: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE is ignored.
CUMULATIVE: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, UpDownCounter, SdkHistogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge),
    AggregationTemporality.CUMULATIVE,
)


def is_disabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns True if `OTEL_SDK_DISABLED=true` switches all telemetry off."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def set_defaults() -> None:
    """Sets the variables that are unset, for all instrumentations in this process."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


class Exporters:
    """Makes the exporters that an environment sets."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**_DEFAULTS, **environment}

    @property
    def interval_ms(self) -> float:
        """Time between two exports of metrics."""
        return float(self._environment["OTEL_METRIC_EXPORT_INTERVAL"])

    def check(self) -> None:
        """Raises ModuleNotFoundError if an extra is missing: that must be found before anything starts."""
        if any(self.exports(signal) and self._is_grpc(signal) for signal in ("METRICS", "TRACES")):
            import_module("opentelemetry.exporter.otlp.proto.grpc")

    def exports(self, signal: str) -> bool:
        """Returns True if METRICS or TRACES are exported."""
        if is_disabled(self._environment):
            return False
        return bool(self._environment.get(_ENDPOINT) or self._environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))

    def _is_grpc(self, signal: str) -> bool:
        general = self._environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        return self._environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", general) == "grpc"

    def spans(self, meters: MeterProvider | None) -> SpanExporter:
        """Makes an exporter of spans. meters: count what it loses."""
        if self._is_grpc("TRACES"):  # imported here because each of the two exporters costs 16 to 31 MB
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

            return GrpcSpanExporter(meter_provider=meters)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(meter_provider=meters)

    def metrics(self) -> MetricExporter:
        """Makes an exporter of metrics."""
        if self._is_grpc("METRICS"):
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter

            return GrpcMetricExporter(preferred_temporality=CUMULATIVE)
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(preferred_temporality=CUMULATIVE)


def resource_with(attributes: Mapping[str, str]) -> Resource:
    """Returns the resource of the environment; attributes: those that it does not set."""
    named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({name: value for name, value in attributes.items() if name not in named})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": _DEFAULTS["OTEL_SERVICE_NAME"]}))
    return resource


def set_globals(meters: MeterProvider, tracers: TracerProvider) -> None:
    """Sets the global providers, so that other instrumentations add spans to our traces; the first app wins."""
    if isinstance(trace_api.get_tracer_provider(), trace_api.ProxyTracerProvider):
        trace_api.set_tracer_provider(tracers)
        metrics_api.set_meter_provider(meters)
