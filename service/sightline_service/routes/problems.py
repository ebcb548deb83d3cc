"""How the app answers what its routes raise: problems of RFC 9457, or what the other protocols have for it."""

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sightline_service.errors import PROBLEM, Fault, SightlineError, problem
from sightline_service.routes.served_model import PREFIXES, error_body
from sightline_telemetry.requests.middleware import TIMELINE

_log = logging.getLogger(__name__)


def answer_failures(app: FastAPI) -> None:
    """Gives every exception an answer."""
    app.add_exception_handler(SightlineError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(Exception, _answer_unexpected)


def _problem(request: Request, status: int, detail: str, faults: tuple[Fault, ...] = ()) -> Response:
    if request.scope["path"].startswith(PREFIXES):
        return Response(error_body(detail), status, media_type="application/json")
    timeline = request.scope.get(TIMELINE)
    body = problem(status, detail, timeline.trace_id_hex if timeline is not None else None, faults)
    return Response(body, status, media_type=PROBLEM.decode())


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SightlineError)  # noqa: S101  # registered for this class
    response = _problem(request, error.status, error.detail, error.faults)
    response.headers.update({name.decode(): value.decode() for name, value in error.headers})
    return response


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    response = _problem(request, error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    faults = tuple(Fault(fault["msg"], str(fault["loc"][-1])) for fault in error.errors())
    detail = "; ".join(f"field {fault.field!r}: {fault.message}" for fault in faults)
    return _problem(request, 422, detail, faults)


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    """Runs outside the telemetry middleware, which has ended the request by now; so the header is set here."""
    timeline = request.scope.get(TIMELINE)
    ids = {} if timeline is None else {"trace_id": timeline.trace_id_hex, "span_id": f"{timeline.span_id:016x}"}
    _log.error("unexpected %s", type(error).__qualname__, exc_info=error, extra=ids)
    response = _problem(request, 500, "the service failed; its log has more under this trace id")
    if timeline is not None:
        response.headers["traceresponse"] = timeline.traceresponse().decode()
    return response
