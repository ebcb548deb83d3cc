"""Errors as responses: problems of RFC 9457, or the error shape of the other protocols."""

import logging
from collections import defaultdict
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sightline_service.errors import (
    PROBLEM_TYPES,
    Fault,
    HttpError,
    InvalidParameterError,
    MethodNotAllowedError,
    NotFoundError,
    SightlineError,
    UnexpectedError,
    shortened,
)
from sightline_service.routes.openapi import ProblemOut
from sightline_service.routes.served_model import PREFIXES, refusal
from sightline_service.server.asgi import Reply
from sightline_telemetry.requests.middleware import TIMELINE
from sightline_telemetry.requests.timeline import Timeline

PROBLEM = b"application/problem+json"

_log = logging.getLogger(__name__)


def problem_reply(error: SightlineError, trace_id: str | None) -> Reply:
    """Makes the response to an error that cannot be answered otherwise; the trace id leads to the log."""
    body: dict[str, Any] = {"type": PROBLEM_TYPES + error.problem} if error.problem else {}
    body |= {"title": error.title, "status": error.status, "detail": shortened(error.detail)}
    if error.faults:
        members = ({"field": fault.field, "row": fault.row, "message": fault.message} for fault in error.faults)
        body["errors"] = [{name: value for name, value in each.items() if value is not None} for each in members]
    if trace_id is not None:
        body["trace_id"] = trace_id
    return Reply(msgspec.json.encode(body), error.status, PROBLEM, error.headers)


def documented_problems(*errors: type[SightlineError]) -> dict[int | str, dict[str, Any]]:
    """Documents the problems of a route for OpenAPI, with their types."""
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for error in errors:
        texts[error.status].append(f"{error.title}: `{PROBLEM_TYPES}{error.problem}`.")
    return {status: {"description": " ".join(each), "model": ProblemOut} for status, each in texts.items()}


def answer_failures(app: FastAPI) -> None:
    """Answers every exception that a route of the app raises."""
    app.add_exception_handler(SightlineError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(Exception, _answer_unexpected)


def _response(request: Request, error: SightlineError) -> Response:
    timeline: Timeline | None = request.scope.get(TIMELINE)
    if request.scope["path"].startswith(PREFIXES):
        reply = refusal(error)
    else:
        reply = problem_reply(error, timeline.trace_id_hex if timeline is not None else None)
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, reply.content_type.decode())


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SightlineError)  # noqa: S101  # registered for this class
    return _response(request, error)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    known = {each.status: each for each in (NotFoundError, MethodNotAllowedError)}.get(error.status_code)
    detail = str(error.detail)
    response = _response(request, known(detail) if known is not None else HttpError(error.status_code, detail))
    response.headers.update(error.headers or {})
    return response


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    faults = tuple(Fault(fault["msg"], str(fault["loc"][-1])) for fault in error.errors())
    detail = "; ".join(f"field {fault.field!r}: {fault.message}" for fault in faults)
    return _response(request, InvalidParameterError(detail, *faults))


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    """Runs outside the telemetry middleware, which has ended the request by now; so the header is set here."""
    timeline: Timeline | None = request.scope.get(TIMELINE)
    ids = {} if timeline is None else {"trace_id": timeline.trace_id_hex, "span_id": f"{timeline.span_id:016x}"}
    _log.error("unexpected %s", type(error).__qualname__, exc_info=error, extra=ids)
    response = _response(request, UnexpectedError("the service failed; its log has more under this trace id"))
    if timeline is not None:
        response.headers["traceresponse"] = timeline.traceresponse().decode()
    return response
