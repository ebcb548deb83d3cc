"""Writes docs/otel.md from the variables in telemetry/sightline_telemetry/export/variables.py.

uv run python docs/otel.py
"""

from pathlib import Path

from sightline_telemetry.export.variables import VARIABLES, Reader, Variable

PAGE = Path(__file__).with_name("otel.md")

_HEAD = """\
# Variables of OpenTelemetry

Made by `make docs` from [variables.py](../telemetry/sightline_telemetry/export/variables.py); change that, not this.

Variables with the prefix `OTEL_` are those of [OpenTelemetry's \
specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), in the service and \
in [a measurement without it](without-the-service.md). An empty one is as good as none. A value that cannot be used, \
and a variable that is set and has no effect, is named at start-up, and the service starts; a propagator that is not \
installed stops it.
"""
_SECTIONS = {
    Reader.SIGHTLINE: "## Read by Sightline\n",
    Reader.SDK: "## Read by the SDK\n",
    Reader.CONTRIB: "## Read with `SIGHTLINE_HTTP_TRACING=contrib` only\n\nWithout it they have no effect, because:\n",
    Reader.NONE: "## Without effect\n",
}


def otel_page() -> str:
    """The page: a table for each reader, in the order of the list."""
    return "\n".join([_HEAD, *(_section(reader, title) for reader, title in _SECTIONS.items())])


def _section(reader: Reader, title: str) -> str:
    rows = [_row(each) for each in VARIABLES.values() if each.reader is reader]
    return "\n".join([title, "| variable | meaning |", "|---|---|", *rows, ""])


def _row(variable: Variable) -> str:
    return f"| `{variable.name}` | {variable.what} |"


if __name__ == "__main__":
    PAGE.write_text(otel_page(), encoding="utf-8")
