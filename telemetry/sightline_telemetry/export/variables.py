"""Every `OTEL_*` variable: who reads it here, and what is told at start-up of those that are set.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

PREFIX = "OTEL_"
EXPORTERS = {
    "OTEL_TRACES_EXPORTER": ("otlp", "console", "none"),
    "OTEL_METRICS_EXPORTER": ("otlp", "console", "prometheus", "none"),
    "OTEL_LOGS_EXPORTER": ("otlp", "console", "none"),
}
"""Which exporters each of these variables may list."""

PROTOCOLS = ("grpc", "http/protobuf")
TEMPORALITIES = ("cumulative", "delta", "lowmemory")

_SIGNALS = ("TRACES", "METRICS", "LOGS")


class Reader(StrEnum):
    """Names who reads a variable."""

    SIGHTLINE = "Sightline"
    SDK = "the SDK"
    CONTRIB = "contrib"  # with SIGHTLINE_HTTP_TRACING=contrib, and in apps with other instrumentations
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable. what: its effect here, or why it has none. is_number: it must be a number above 0."""

    name: str
    reader: Reader
    what: str
    is_number: bool = False


def _variables() -> Iterator[Variable]:
    ours, sdk, contrib, unread = Reader
    yield Variable("OTEL_SDK_DISABLED", ours, "`true` switches all telemetry off; requests keep their ids.")
    yield Variable("OTEL_SERVICE_NAME", sdk, "`service.name`; `sightline` if neither this nor the next one names it.")
    yield Variable("OTEL_RESOURCE_ATTRIBUTES", sdk, "Attributes of the resource, `service.name` among them.")
    yield Variable("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", sdk, "More attributes of the resource.")
    yield Variable(
        "OTEL_PROPAGATORS",
        ours,
        "How a caller hands its trace on; `tracecontext,baggage` by default, `none` continues no trace, others come "
        "with packages of their own.",
    )
    yield Variable(
        "OTEL_TRACES_EXPORTER",
        ours,
        "`otlp`, `console`, `none`, or several. If unset, `otlp` where an endpoint is set.",
    )
    yield Variable("OTEL_METRICS_EXPORTER", ours, "The same; `prometheus` is the scrape at `/metrics`, always there.")
    yield Variable(
        "OTEL_LOGS_EXPORTER", ours, "`otlp`, `console` or `none`; if unset, logs are written to stdout only."
    )
    yield from _otlp()
    yield Variable("OTEL_METRIC_EXPORT_INTERVAL", ours, "Milliseconds between two exports of metrics; 5000.", True)
    yield Variable("OTEL_METRIC_EXPORT_TIMEOUT", sdk, "Milliseconds that an export of metrics may take.", True)
    yield Variable(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        ours,
        "`always_off`: no exemplars, and no trace is kept for their sake. Otherwise exemplars are of kept traces.",
    )
    yield from _queues_and_limits()
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        yield Variable(name, contrib, "Which traces are kept is decided when a request has ended.")
    for name in ("OTEL_PYTHON_EXCLUDED_URLS", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"):
        yield Variable(name, contrib, "Every request is measured.")
    yield Variable("OTEL_SEMCONV_STABILITY_OPT_IN", sdk, "Names that other instrumentations use; `http`.")
    yield Variable("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", sdk, "`true`: the SDK counts its spans and exports.")
    yield Variable("OTEL_PYTHON_CONTEXT", sdk, "The implementation of the context.")
    for name in ("OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"):
        yield Variable(name, unread, "`--metrics-port` gives scrapes a port of their own.")
    yield Variable("OTEL_LOG_LEVEL", unread, "Python's SDK has no such level.")
    yield Variable("OTEL_PYTHON_ID_GENERATOR", unread, "Ids are random, as W3C Trace Context asks.")
    for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"):
        yield Variable(name, unread, "Files of settings are not read.")
    for name in ("CONFIGURATOR", "DISTRO", "DISABLED_INSTRUMENTATIONS", "TRACER_PROVIDER", "METER_PROVIDER"):
        yield Variable(f"OTEL_PYTHON_{name}", unread, "`opentelemetry-instrument` reads it; Sightline starts the SDK.")


def _queues_and_limits() -> Iterator[Variable]:
    ours, sdk, *_ = Reader
    yield Variable("OTEL_BSP_SCHEDULE_DELAY", sdk, "Milliseconds between two exports of spans; 1000.", True)
    for name in ("EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"):
        yield Variable(f"OTEL_BSP_{name}", sdk, "Of the queue of spans.", True)
    for name in ("SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"):
        yield Variable(f"OTEL_BLRP_{name}", sdk, "Of the queue of log records, where logs are exported.", True)
    for name in ("OTEL_ATTRIBUTE", "OTEL_SPAN_ATTRIBUTE"):
        yield Variable(f"{name}_VALUE_LENGTH_LIMIT", ours, "Characters of an attribute of a span; 256.", True)
        yield Variable(f"{name}_COUNT_LIMIT", ours, "Attributes of a span; 128.", True)
    for name in ("SPAN_EVENT", "SPAN_LINK", "EVENT_ATTRIBUTE", "LINK_ATTRIBUTE"):
        yield Variable(f"OTEL_{name}_COUNT_LIMIT", sdk, "Of spans that other instrumentations make.", True)
    for name in ("COUNT", "VALUE_LENGTH"):
        yield Variable(f"OTEL_LOGRECORD_ATTRIBUTE_{name}_LIMIT", sdk, "Of log records, where logs are exported.", True)


def _otlp() -> Iterator[Variable]:
    ours, sdk, _, unread = Reader
    parts = (
        ("ENDPOINT", ours, "Where it is sent by OTLP, with its scheme: `http://localhost:4318`.", False),
        ("PROTOCOL", ours, "`http/protobuf`, or `grpc` with the extra of that name.", False),
        ("HEADERS", sdk, "Headers of each export, such as an authorization.", False),
        ("TIMEOUT", sdk, "Seconds that an export may take.", True),
        ("COMPRESSION", sdk, "`gzip`, `deflate` or `none`.", False),
        ("CERTIFICATE", sdk, "File of the authorities that the endpoint's certificate is checked against.", False),
        ("CLIENT_KEY", sdk, "File of the client's key.", False),
        ("CLIENT_CERTIFICATE", sdk, "File of the client's certificate.", False),
        ("INSECURE", sdk, "`true`: gRPC without TLS.", False),
    )
    for signal in ("", *(f"{each}_" for each in _SIGNALS)):
        for part, reader, what, is_number in parts:
            yield Variable(f"OTEL_EXPORTER_OTLP_{signal}{part}", reader, what, is_number)
    yield Variable(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        ours,
        "`cumulative`; `delta` and `lowmemory` send what came since the last export that arrived.",
    )
    yield Variable(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        unread,
        "Histograms have the bounds of docs/metrics.md, which the alerts are made for.",
    )


VARIABLES = {each.name: each for each in _variables()}


def set_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the `OTEL_*` variables that hold something, without blanks around it: an empty one is as good as none."""
    return {name: text for name, value in environment.items() if name.startswith(PREFIX) and (text := value.strip())}


def drop_empty(environment: MutableMapping[str, str]) -> None:
    """Removes empty variables, which not every reader takes for unset."""
    used = set_variables(environment)
    for name in [name for name in environment if name.startswith(PREFIX) and name not in used]:
        del environment[name]


def drop_unusable(environment: MutableMapping[str, str]) -> None:
    """Removes variables that are empty, or that should be a number and are none: readers then take their defaults."""
    drop_empty(environment)
    for name in [name for name, value in set_variables(environment).items() if _is_bad_number(name, value)]:
        del environment[name]


def advice(environment: Mapping[str, str], *, is_contrib: bool) -> list[str]:
    """Returns a sentence for each value that cannot be used, and one that names the variables without effect.

    is_contrib: another instrumentation makes the server spans.
    """
    used = set_variables(environment)
    return [*bad_values(used), *_without_effect(used, is_contrib=is_contrib)]


def bad_values(environment: Mapping[str, str]) -> Iterator[str]:
    """Returns a sentence for each value that cannot be used."""
    used = set_variables(environment)
    for name, value in used.items():
        if name.endswith("_ENDPOINT") and name.startswith("OTEL_EXPORTER_OTLP_"):
            if urlsplit(value).scheme not in ("http", "https"):
                yield f"{name}={value} has no scheme: write http://{value} or https://{value}"
        elif name.endswith("_PROTOCOL") and value not in PROTOCOLS:
            yield f"{name}={value} is not supported: http/protobuf is spoken; grpc is the other one"
        elif _is_bad_number(name, value):
            yield f"{name}={value} is no number that it can be: its default is used"
        elif name in EXPORTERS:
            for exporter in unknown_exporters(name, value):
                yield f"{name} names {exporter}, which is not among {', '.join(EXPORTERS[name])}: it is left out"
        elif name.endswith("_TEMPORALITY_PREFERENCE") and value.lower() not in TEMPORALITIES:
            yield f"{name}={value} is not among {', '.join(TEMPORALITIES)}: cumulative is used"


def _without_effect(used: Mapping[str, str], *, is_contrib: bool) -> Iterator[str]:
    idle = {Reader.NONE} if is_contrib else {Reader.NONE, Reader.CONTRIB}
    reasons = []
    for name in sorted(used):
        variable = VARIABLES.get(name)
        if variable is None and not (is_contrib and name.startswith(("OTEL_INSTRUMENTATION_", "OTEL_PYTHON_"))):
            reasons.append(f"{name} (not known here)")
        elif variable is not None and variable.reader in idle:
            reasons.append(f"{name} ({variable.what.rstrip('.')})")
    if reasons:
        yield f"set, but without effect here: {'; '.join(reasons)}"


def unknown_exporters(name: str, value: str) -> Iterable[str]:
    """Returns the exporters of a list that the variable of this name may not have."""
    return [each for each in names_in(value) if each not in EXPORTERS[name]]


def names_in(value: str) -> list[str]:
    """Returns the names in a list with commas, in lower case."""
    return [name.strip().lower() for name in value.split(",") if name.strip()]


def _is_bad_number(name: str, value: str) -> bool:
    variable = VARIABLES.get(name)
    if variable is None or not variable.is_number:
        return False
    if name.endswith("_LIMIT"):
        return not (value.isdigit() or value == "unset")
    if name.startswith(("OTEL_BSP_", "OTEL_BLRP_")) and not value.isdigit():
        return True
    try:
        return not 0 < float(value) < float("inf")
    except ValueError:
        return True
