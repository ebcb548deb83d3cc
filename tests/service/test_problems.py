"""Every error class has a problem type of its own, which the page, OpenAPI and the answers have in common."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from sightline_service.errors import (
    PROBLEM_TYPES,
    ConnectionRefusal,
    HttpError,
    RequestError,
    SightlineError,
    StartupError,
)
from sightline_service.routes.problems import answer_failures
from sightline_service.server.asgi import fastapi_options
from tests.service.running import Running

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"
ROW = re.compile(rf"^\| `{PROBLEM_TYPES}([a-z-]+)` \| ([^|]+) \| (\d{{3}}) \| ([^|]+) \|$", re.MULTILINE)


def answered_errors(base: type[SightlineError] = SightlineError) -> Iterator[type[SightlineError]]:
    """The classes of errors that are answered over HTTP with a type."""
    for error in base.__subclasses__():
        if not issubclass(error, StartupError | HttpError):
            if error not in (RequestError, ConnectionRefusal):
                yield error
            yield from answered_errors(error)


ERRORS = list(answered_errors())


def test_the_page_lists_every_type() -> None:
    """The page has one row per error class, with its title, its status and what to do."""
    rows = {name: (title, int(status)) for name, title, status, _ in ROW.findall(PAGE.read_text())}
    assert rows == {error.problem: (error.title, error.status) for error in ERRORS}


def test_no_two_errors_share_a_type() -> None:
    """A client that decides by the type can tell all errors apart."""
    types = [error.problem for error in ERRORS]
    assert len(set(types)) == len(types) > 10


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("POST", "/predict/model", b"{", "malformed-body"),
        ("POST", "/predict/model", b'{"instances": [1]}', "invalid-rows"),
        ("POST", "/feedback", b"{}", "invalid-rows"),
        ("GET", "/predict/random?error_rate=2", b"", "invalid-parameter"),
        ("GET", "/predict/random?error_rate=1", b"", "prediction-failed"),
        ("GET", "/predict/model", b"", "method-not-allowed"),
        ("GET", "/nowhere", b"", "not-found"),
        ("GET", f"/traces/{1:032x}", b"", "unknown-trace"),
    ],
)
def test_an_answer_has_its_type(small_service: Running, method: str, path: str, body: bytes, problem: str) -> None:
    """Type, title and status of an answer are those of its error class, and OpenAPI names the type."""
    headers = {"content-type": "application/json"}
    answer = small_service.client.request(method, path, content=body, headers=headers)
    (error,) = [each for each in ERRORS if each.problem == problem]
    found = answer.json()
    assert (found["type"], found["title"], found["status"]) == (PROBLEM_TYPES + problem, error.title, error.status)
    assert answer.status_code == error.status
    if problem not in ("method-not-allowed", "not-found"):  # these belong to no route
        assert f"`{PROBLEM_TYPES}{problem}`" in small_service.client.get("/openapi.json").text


@pytest.mark.parametrize(("status", "title"), [(409, "Conflict"), (499, "Error")])
def test_an_http_exception_of_another_route_has_no_type(status: int, title: str) -> None:
    """A route that the app's owner has added answers its own status; the problem has no type, which RFC 9457 allows."""
    app = FastAPI(**fastapi_options())
    answer_failures(app)

    @app.get("/own")
    def own() -> None:
        raise HTTPException(status, "it is taken", {"x-own": "1"})

    answer = TestClient(app).get("/own")
    assert (answer.status_code, answer.headers["x-own"]) == (status, "1")
    assert answer.json() == {"title": title, "status": status, "detail": "it is taken"}
