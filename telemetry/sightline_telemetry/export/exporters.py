"""Makes exporters and the resource, as the `OTEL_*` variables set them.

The SDK reads these variables itself; this module only sets defaults for those that are unset.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

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
from opentelemetry.sdk.metrics.export import AggregationTemporality, ConsoleMetricExporter, MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from sightline_telemetry.export.delta import DELTA_PREFERENCES, DeltaExporter
from sightline_telemetry.export.variables import EXPORTERS, drop_unusable, names_in, set_variables

if TYPE_CHECKING:  # the SDK's logs are loaded only where they are exported
    from opentelemetry.sdk._logs.export import LogRecordExporter

SERVICE_NAME = "sightline"
"""The name of a service that has none."""

SIGNALS = ("TRACES", "METRICS", "LOGS")
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DEFAULTS = {
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",  # an exemplar must be visible while its latency spike still is
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",  # other instrumentations then use the same attribute names as our spans
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",  # the SDK counts the spans and exports that it loses
}
# Our histograms are cumulative, so every instrument is; `DeltaExporter` subtracts.
CUMULATIVE: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, UpDownCounter, SdkHistogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge),
    AggregationTemporality.CUMULATIVE,
)


def is_disabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns True if `OTEL_SDK_DISABLED=true` switches all telemetry off."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def set_defaults() -> None:
    """Sets the variables that are unset, or cannot be used, for all instrumentations in this process."""
    drop_unusable(os.environ)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


class Exporters:
    """Makes the exporters that an environment sets."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        usable = dict(environment)
        drop_unusable(usable)
        self._environment = {**_DEFAULTS, **set_variables(usable)}

    @property
    def interval_ms(self) -> float:
        """Time between two exports of metrics."""
        return float(self._environment["OTEL_METRIC_EXPORT_INTERVAL"])

    @property
    def has_exemplars(self) -> bool:
        """False if OTEL_METRICS_EXEMPLAR_FILTER switches exemplars off."""
        return self._environment.get("OTEL_METRICS_EXEMPLAR_FILTER", "").lower() != "always_off"

    def check(self) -> None:
        """Raises ModuleNotFoundError if an extra is missing: that must be found before anything starts."""
        if any("otlp" in self.kinds(signal) and self._is_grpc(signal) for signal in SIGNALS):
            import_module("opentelemetry.exporter.otlp.proto.grpc")

    def kinds(self, signal: str) -> tuple[str, ...]:
        """Returns how TRACES, METRICS or LOGS are exported: by `otlp`, to the `console`; nothing for `none`.

        Without OTEL_<signal>_EXPORTER, traces and metrics leave by OTLP if an endpoint is set, and logs do not.
        """
        if is_disabled(self._environment):
            return ()
        variable = f"OTEL_{signal}_EXPORTER"
        named = self._environment.get(variable)
        if named is None:
            endpoints = (_ENDPOINT, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
            return ("otlp",) if signal != "LOGS" and any(map(self._environment.get, endpoints)) else ()
        kinds = [each for each in names_in(named) if each in EXPORTERS[variable]]
        return () if "none" in kinds else tuple(each for each in kinds if each != "prometheus")

    def exports(self, signal: str) -> bool:
        """Returns True if TRACES, METRICS or LOGS are exported."""
        return bool(self.kinds(signal))

    def _is_grpc(self, signal: str) -> bool:
        general = self._environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        return self._environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", general) == "grpc"

    def spans(self, kind: str, meters: MeterProvider | None) -> SpanExporter:
        """Makes an exporter of spans. kind: one of `kinds("TRACES")`. meters: count what it loses."""
        if kind == "console":
            return ConsoleSpanExporter()
        if self._is_grpc("TRACES"):  # imported here because each of the two exporters costs 16 to 31 MB
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

            return GrpcSpanExporter(meter_provider=meters)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(meter_provider=meters)

    def metrics(self, kind: str) -> MetricExporter:
        """Makes an exporter of metrics; the console's are cumulative. kind: one of `kinds("METRICS")`."""
        if kind == "console":
            return ConsoleMetricExporter(preferred_temporality=CUMULATIVE)
        preference = self._environment.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").lower()
        exporter = self._otlp_metrics()
        return DeltaExporter(exporter, preference) if preference in DELTA_PREFERENCES else exporter

    def _otlp_metrics(self) -> MetricExporter:
        if self._is_grpc("METRICS"):
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter

            return GrpcMetricExporter(preferred_temporality=CUMULATIVE)
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(preferred_temporality=CUMULATIVE)

    def logs(self, kind: str) -> "LogRecordExporter":
        """Makes an exporter of log records. kind: one of `kinds("LOGS")`."""
        if kind == "console":
            from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter

            return ConsoleLogRecordExporter()
        if self._is_grpc("LOGS"):
            from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter

            return GrpcLogExporter()
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        return OTLPLogExporter()


def resource_with(attributes: Mapping[str, str]) -> Resource:
    """Returns the resource of the environment; attributes: those that it does not set."""
    listed = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    named = {each.partition("=")[0].strip() for each in listed}
    resource = Resource.create({name: value for name, value in attributes.items() if name not in named})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": SERVICE_NAME}))
    return resource


def set_globals(meters: MeterProvider, tracers: TracerProvider) -> None:
    """Sets the global providers, so that other instrumentations add spans to our traces; the first app wins."""
    if isinstance(trace_api.get_tracer_provider(), trace_api.ProxyTracerProvider):
        trace_api.set_tracer_provider(tracers)
        metrics_api.set_meter_provider(meters)
