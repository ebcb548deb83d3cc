"""Which `OTEL_*` variables are read, and what is reported of the others and of values that cannot be used."""

import pytest

from sightline_telemetry.export.exporters import Exporters
from sightline_telemetry.export.variables import VARIABLES, Reader, advice, drop_unusable

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HERE = {ENDPOINT: "http://127.0.0.1:4318"}


@pytest.mark.parametrize("name", [name for name, each in VARIABLES.items() if each.reader is Reader.NONE])
def test_a_variable_without_effect_is_named(name: str) -> None:
    """A variable without effect is named once, with the reason, with `contrib` and without."""
    for is_contrib in (False, True):
        (line,) = advice({name: "1"}, is_contrib=is_contrib)
        assert line.startswith(f"set, but without effect here: {name} (")


@pytest.mark.parametrize("name", [name for name, each in VARIABLES.items() if each.reader is Reader.CONTRIB])
def test_a_variable_of_another_instrumentation_is_named_without_it(name: str) -> None:
    """A variable that FastAPIInstrumentor reads has an effect with it alone."""
    assert len(advice({name: "1"}, is_contrib=False)) == 1
    assert advice({name: "1"}, is_contrib=True) == []


def test_all_without_effect_stand_in_one_line() -> None:
    """Several variables without effect, unknown ones among them, stand in one line."""
    (line,) = advice({"OTEL_LOG_LEVEL": "debug", "OTEL_NO_SUCH_THING": "1", "OTHER": "x"}, is_contrib=False)
    assert line.count("OTEL_") == 2
    assert "OTEL_NO_SUCH_THING (not known here)" in line


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        (ENDPOINT, "localhost:4318", "has no scheme: write http://localhost:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector", "has no scheme"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "is not supported"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp", "is not supported"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "its default is used"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "its default is used"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1.5", "its default is used"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "many", "its default is used"),
        ("OTEL_METRICS_EXPORTER", "otlp,statsd", "names statsd"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both", "cumulative is used"),
    ],
)
def test_a_value_that_cannot_be_used_is_reported(name: str, value: str, reported: str) -> None:
    """What is wrong with a value is reported under the name of its variable; an empty one is as good as none."""
    (line,) = advice({name: value}, is_contrib=False)
    assert line.startswith(name)
    assert reported in line
    assert advice({name: " "}, is_contrib=False) == []


@pytest.mark.parametrize(
    "used",
    [
        {ENDPOINT: "https://collector:4318/otlp"},
        {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"},
        {"OTEL_METRIC_EXPORT_INTERVAL": "2500.5", "OTEL_BSP_MAX_QUEUE_SIZE": "64"},
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "0", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "unset"},
        {"OTEL_METRICS_EXPORTER": "otlp, Console", "OTEL_PROPAGATORS": "tracecontext"},
        {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "LowMemory"},
    ],
)
def test_what_can_be_used_is_not_mentioned(used: dict[str, str]) -> None:
    """Nothing is reported of variables that have their effect."""
    assert advice(used, is_contrib=False) == []


def test_unusable_variables_are_removed_for_all_readers() -> None:
    """An empty variable and a word in the place of a number are gone; all else stays as it was."""
    environment = {
        "OTEL_METRIC_EXPORT_INTERVAL": "soon",
        "OTEL_SERVICE_NAME": " ",
        "OTEL_BSP_SCHEDULE_DELAY": "5",
        "A": "",
    }
    drop_unusable(environment)
    assert environment == {"OTEL_BSP_SCHEDULE_DELAY": "5", "A": ""}


@pytest.mark.parametrize(
    ("variables", "kinds"),
    [
        ({}, ((), (), ())),
        (HERE, (("otlp",), ("otlp",), ())),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}, ((), ("otlp",), ())),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, ((), ("otlp",), ())),
        ({**HERE, "OTEL_METRICS_EXPORTER": "prometheus"}, (("otlp",), (), ())),
        ({"OTEL_METRICS_EXPORTER": "otlp,console"}, ((), ("otlp", "console"), ())),
        ({**HERE, "OTEL_METRICS_EXPORTER": "console,none"}, (("otlp",), (), ())),
        ({**HERE, "OTEL_LOGS_EXPORTER": "OTLP", "OTEL_TRACES_EXPORTER": ""}, (("otlp",), ("otlp",), ("otlp",))),
        ({**HERE, "OTEL_LOGS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, ((), (), ())),
        ({**HERE, "OTEL_TRACES_EXPORTER": "zipkin"}, ((), ("otlp",), ())),
    ],
)
def test_exporters_are_those_that_are_named(variables: dict[str, str], kinds: tuple[tuple[str, ...], ...]) -> None:
    """Traces, metrics and logs leave as their variables say; without them by OTLP where an endpoint is set."""
    exporters = Exporters(variables)
    assert tuple(exporters.kinds(signal) for signal in ("TRACES", "METRICS", "LOGS")) == kinds
