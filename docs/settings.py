"""Writes docs/settings.md from the docstrings in service/sightline_service/settings.py.

uv run python docs/settings.py
"""

import ast
import inspect
from itertools import pairwise
from pathlib import Path

from sightline_service.settings import PREFIX, Settings

PAGE = Path(__file__).with_name("settings.md")

_HEAD = """\
# Settings

Made by `make docs` from [settings.py](../service/sightline_service/settings.py); change that, not this.

Sightline reads environment variables with the prefix `SIGHTLINE_`. A value that does not fit, or a name that does not \
exist, stops start-up with an error that names it. Several values are separated by commas.

| variable | default | meaning |
|---|---|---|
"""
_CLIENTS = """
`SIGHTLINE_API_KEY` is the [key](access.md) that `sightline doctor`, `simulate` and `demo` send, unless they are given \
`--key-file`; a service does not read it.
"""
_OPENTELEMETRY = """
Variables with the prefix `OTEL_` are [OpenTelemetry's](otel.md): where metrics, traces and logs are sent, how often, \
and under which name. Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is sent, and `/metrics` has every number all the \
same. With `OTEL_SDK_DISABLED=true` no request is counted, traced or logged; answers still have their ids, and labels \
are still judged and kept.
"""


def settings_page() -> str:
    """The page: one row per setting, in the order of the class."""
    rows = [f"| `{PREFIX}{name.upper()}` | {_default(name)} | {text} |\n" for name, text in _meanings().items()]
    return "".join([_HEAD, *rows, _CLIENTS, _OPENTELEMETRY])


def _meanings() -> dict[str, str]:
    """The docstring under each setting, on one line."""
    (settings,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(settings, ast.ClassDef)  # noqa: S101  # what getsource returns for a class
    return {
        field.target.id: " ".join(text.value.value.split()).replace("|", r"\|")
        for field, text in pairwise(settings.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _default(name: str) -> str:
    """The default as it is written in the environment; a word where there is none."""
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    if field.default in ("", ()):
        return "none"
    return f"{field.default:.10g}" if isinstance(field.default, float) else str(field.default).lower()


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
