"""The bypassed route answers as a plain FastAPI route with the same models would, and as the whole stack does."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from sightline_service.app import create_app
from sightline_service.bundles.bundle import load_bundle
from sightline_service.prediction import batching
from sightline_service.routes.openapi import request_model
from sightline_service.server.asgi import AsgiRoute, fastapi_options
from tests.service.running import Running, running

N_BODIES = 3_000
ROW = {"age": 30.0, "income": 900.0, "city": "Oslo", "plan": "free"}
STRANGE: list[Any] = [
    None, 0, -1.5, 1e300, 10**400, True, "", "Oslo", "30", "\u00e9", [], [1], {}, {"a": 1}, "paid", "x" * 300, 2**63,
]  # fmt: skip
BROKEN = (b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"instances"', b'{"instances": [{"age": NaN}]}', b"1e999")


def bodies() -> Iterator[bytes]:
    """Valid and broken bodies: values, fields, rows and whole documents changed at random."""
    generator = random.Random(5)
    for _ in range(N_BODIES):
        rows: list[Any] = [dict(ROW) for _ in range(generator.choice((1, 1, 1, 2, 5)))]
        document: Any = {"instances": rows}
        for _ in range(generator.choice((0, 1, 1, 2))):
            row, kind = generator.choice(rows), generator.randrange(7)
            name = generator.choice(list(ROW))
            if not isinstance(row, dict):
                continue
            if kind <= 2:
                row[name] = deepcopy(generator.choice(STRANGE))
            elif kind == 3:
                row.pop(name, None)
            elif kind == 4:
                row["unknown"] = deepcopy(generator.choice(STRANGE))
            elif kind == 5:
                rows[rows.index(row)] = deepcopy(generator.choice(STRANGE))
            else:
                document = generator.choice(
                    ({}, {"instances": []}, {"instances": rows, "more": 1}, {"instances": None}, rows)
                )
        body = _encoded(document)
        if generator.random() < 0.05:
            body = generator.choice((*BROKEN, body[: len(body) // 2], body + b"}", body.replace(b":", b"", 1)))
        yield body


def _encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def service(small_bundle: Path) -> Iterator[Running]:
    """The service behind its own server, which uses the bypass where there is one."""
    with running(small_bundle) as service:
        assert service.app.asgi_bypass is not None
        assert service.app.asgi_bypass.paths == {b"/predict/model"}
        yield service


@pytest.fixture(scope="module")
def stack(small_bundle: Path) -> Iterator[TestClient]:
    """The same through ASGI, without the bypass."""
    with TestClient(create_app(bundle=small_bundle, request_log=False), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def plain(small_bundle: Path) -> TestClient:
    """A plain FastAPI route with the request model that the bypassed one documents."""
    # FastAPI's own telemetry would count into the global providers, which are those of another test's service.
    app = FastAPI(**fastapi_options())

    async def predict(body: Any) -> dict[str, int]:
        return {"rows": len(body.instances)}

    predict.__annotations__["body"] = request_model(load_bundle(small_bundle).profile, 10_000)
    app.post("/predict/model")(predict)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:  # FastAPI's own cannot write NaN
        return JSONResponse({"detail": [{"loc": fault["loc"]} for fault in error.errors()]}, 422)

    return TestClient(app)


def test_it_takes_and_refuses_what_a_plain_route_does(service: Running, stack: TestClient, plain: TestClient) -> None:
    """Of thousands of bodies it answers 200 to those that FastAPI takes, and refuses the others by field and row.

    The bypass and ASGI give the same answer to each, and count the same.
    """
    taken, before = 0, _counted(service)
    for body in bodies():
        ours = service.post(body)
        same, theirs = (
            client.post("/predict/model", content=body, headers={"content-type": "application/json"})
            for client in (stack, plain)
        )
        answer = ours.json()
        assert _lasting(ours) == _lasting(same), body
        if ours.status_code == 200:
            assert theirs.status_code == 200, body
            assert len(answer["predictions"]) == theirs.json()["rows"]
            taken += len(answer["predictions"])
            continue
        assert ours.headers["content-type"] == "application/problem+json"
        assert answer["status"] == ours.status_code
        if theirs.status_code == 200:  # the schema takes any string; this model's encoder of `plan` does not
            assert "refuses unseen" in answer["detail"], body
            continue
        is_json = _is_json(body)
        # A body that breaks off may be refused for what stands before the break.
        assert ours.status_code in ((422,) if is_json else (400, 422)), (body, answer)
        if is_json and isinstance(json.loads(body), dict):
            fields = {str(part) for fault in theirs.json()["detail"] for part in fault["loc"]}
            assert all(fault.get("field", "") in {*fields, ""} for fault in answer.get("errors", [])), (body, answer)
    assert N_BODIES * 0.2 < taken < N_BODIES * 2
    after = _counted(service)
    assert after["rows"] - before["rows"] == taken
    assert after["requests"] - before["requests"] == N_BODIES


@pytest.mark.parametrize(
    ("content_type", "rows", "status"),
    [
        ("application/json; charset=utf-8", 1, 200),
        ("Application/JSON", 1, 200),
        ("text/plain", 1, 415),
        ("", 1, 415),
        ("application/json", 20, 413),
    ],
)
def test_content_type_and_size_are_checked_on_both_ways(
    small_bundle: Path, content_type: str, rows: int, status: int
) -> None:
    """Content type and size are judged alike, and counted once."""
    body = _encoded({"instances": [ROW] * rows})
    with running(small_bundle, max_body_bytes=500) as service:
        headers = {"content-type": content_type}
        short, long = (
            service.client.post(path, content=body, headers=headers)
            for path in ("/predict/model", "/predict/model?long")
        )
        assert short.status_code == status
        assert _lasting(short) == _lasting(long)
        assert service.errors()["rejected"] == (2 if status != 200 else 0)


def test_an_instrumentation_gets_every_request(small_bundle: Path) -> None:
    """A stack that is built again around the app, as an instrumentation does, ends the bypass."""
    app = create_app(bundle=small_bundle, request_log=False)
    app.build_middleware_stack()
    assert app.asgi_bypass is not None
    FastAPIInstrumentor.instrument_app(app)
    try:
        app.build_middleware_stack()
        assert app.asgi_bypass is None
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


def _counted(service: Running) -> dict[str, float]:
    """Rows and requests of the route, as `/metrics` has them."""
    requests = service.samples("http_server_request_duration_seconds_count")
    return {
        "rows": sum(service.samples("ml_predictions_total").values()),
        "requests": sum(n for labels, n in requests.items() if ("http_route", "/predict/model") in labels),
    }


def _endpoint(service: Running) -> Any:
    """Returns the endpoint of the bypassed route."""
    routes = [route for route in service.app.router.routes if isinstance(route, AsgiRoute)]
    (endpoint,) = [route.app for route in routes if route.path == "/predict/model"]
    return endpoint


def _lasting(response: Any) -> tuple[int, list[str], Any]:
    """Status, names of headers and body, less what is new in each answer or the server's own."""
    names = sorted(set(response.headers.keys()) - {"server", "date"})
    answer = response.json()
    assert answer.pop("trace_id") == response.headers["traceresponse"].split("-")[1]
    for prediction in answer.get("predictions", []):
        assert len(prediction.pop("prediction_id")) == 56
    return response.status_code, names, answer


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body.decode(), parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def test_with_other_middleware_there_is_no_bypass(small_bundle: Path, service: Running) -> None:
    """With other middleware the whole stack serves, sees every request, and answers the same."""
    seen = []

    async def watch(request: Any, call_next: Any) -> Any:
        seen.append(request.url.path)
        return await call_next(request)

    def add(app: FastAPI) -> None:
        app.add_middleware(BaseHTTPMiddleware, dispatch=watch)

    with running(small_bundle, change=add) as watched:
        sent: tuple[Any, ...] = ({"instances": [ROW]}, {"instances": []}, {"wrong": 1})
        for body in sent:
            short, long = (each.post(_encoded(body)) for each in (service, watched))
            assert _lasting(short) == _lasting(long)
        assert watched.app.asgi_bypass is None
    assert seen == ["/predict/model"] * 3


def test_a_route_in_front_is_heard(small_bundle: Path) -> None:
    """A route that is put before the bypassed one gets its requests."""

    async def own(_: Request) -> JSONResponse:
        return JSONResponse({"mine": True})

    def add(app: FastAPI) -> None:
        app.router.routes.insert(0, Route("/predict/{model}", own, methods=["POST"]))

    with running(small_bundle, change=add) as service:
        assert service.predict([ROW]).json() == {"mine": True}


def test_a_slower_model_has_no_bypass(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that have to queue go through ASGI."""
    monkeypatch.setattr(batching, "AT_ONCE_NS", 0)
    with running(small_bundle) as queued:
        assert queued.app.asgi_bypass is not None
        assert queued.app.asgi_bypass.paths == frozenset()
        assert queued.predict([ROW]).status_code == 200


def test_a_setting_switches_the_bypass_off(small_bundle: Path) -> None:
    """With SIGHTLINE_ASGI_BYPASS=false every request goes through ASGI, and is answered and counted the same."""
    with running(small_bundle, asgi_bypass=False) as through_asgi:
        assert through_asgi.app.asgi_bypass is not None
        assert through_asgi.app.asgi_bypass.paths == frozenset()
        assert through_asgi.predict([ROW]).status_code == 200
        assert _counted(through_asgi) == {"rows": 1, "requests": 1}


def test_other_methods_take_the_stack(service: Running) -> None:
    """What is not a POST is refused as on any other route."""
    assert service.client.get("/predict/model").status_code == 405


def test_what_fails_after_the_prediction_is_counted_as_failed(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no ids can be made, the client is answered 500 once; one request is counted, one failure, and no row."""
    before, failed = _counted(service), service.errors().get("failed", 0)

    def fail(*_: Any) -> None:
        raise RuntimeError("no randomness is left")

    monkeypatch.setattr(_endpoint(service), "_make_ids", fail)
    answer = service.post_alone(_encoded({"instances": [ROW]}))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["trace_id"] == answer.headers["traceresponse"].split("-")[1]
    after = _counted(service)
    assert (after["rows"] - before["rows"], after["requests"] - before["requests"]) == (0, 1)
    assert service.errors()["failed"] == failed + 1
    monkeypatch.undo()
    assert service.predict([ROW]).status_code == 200


def test_no_client_is_blamed_for_a_failure_of_ours(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """If even a refusal fails, the client is answered 500, with a trace id, and not that its HTTP was wrong."""
    before = _counted(service)

    def fail(*_: Any) -> None:
        raise RuntimeError("it cannot be counted")

    monkeypatch.setattr(_endpoint(service), "_note_error", fail)
    answer = service.post_alone(_encoded({"wrong": 1}))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert _counted(service)["requests"] - before["requests"] == 1
