"""What bare ASGI endpoints share."""

from typing import Any

from fastapi import FastAPI

from sightline_service.server.asgi import fastapi_options


class OldFastAPI(FastAPI):
    """A release of FastAPI that has no telemetry of its own."""

    def __init__(self, *, title: str = "old") -> None:
        super().__init__(title=title, **fastapi_options())


class NewFastAPI(OldFastAPI):
    """A release that has one."""

    def __init__(self, *, title: str = "new", telemetry: dict[str, bool] | None = None) -> None:
        super().__init__(title=title)
        self.parts: Any = telemetry


def test_fastapi_without_telemetry_gets_no_option() -> None:
    """An option that a release does not know is not passed."""
    assert fastapi_options(OldFastAPI) == {}


def test_all_telemetry_of_fastapi_is_off() -> None:
    """Where FastAPI has telemetry of its own, each part of it is switched off."""
    parts = ("tracing", "metrics", "logs", "operation_spans", "auto_configure")
    assert NewFastAPI(**fastapi_options(NewFastAPI)).parts == dict.fromkeys(parts, False)
