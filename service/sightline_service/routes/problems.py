"""Errors as responses: problems of RFC 9457, or the error shape of the other protocols."""

import logging
from collections import defaultdict
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from sightline_service import errors
from sightline_service.errors import Fault, SightlineError
from sightline_service.routes.openapi import problem_schema
from sightline_service.routes.served_model import PREFIXES, refusal
from sightline_service.server.asgi import Reply, route_path
from sightline_telemetry.requests.running import TIMELINE
from sightline_telemetry.requests.timeline import Timeline

PROBLEM = b"application/problem+json"
MAX_FAULTS = 10
"""An answer names so many wrong parameters: a client may send thousands."""

_log = logging.getLogger(__name__)


def problem_reply(error: SightlineError, trace_id: str | None) -> Reply:
    """Makes the response to an error that cannot be answered otherwise; the trace id leads to the log."""
    body: dict[str, Any] = {"type": errors.PROBLEM_TYPES + error.problem} if error.problem else {}
    body |= {"title": error.title, "status": error.status, "detail": errors.shortened(error.detail)}
    if error.faults:
        members = ({"field": fault.field, "row": fault.row, "message": fault.message} for fault in error.faults)
        body["errors"] = [{name: value for name, value in each.items() if value is not None} for each in members]
    if trace_id is not None:
        body["trace_id"] = trace_id
    return Reply(msgspec.json.encode(body), error.status, PROBLEM, error.headers)


def documented_problems(*kinds: type[SightlineError]) -> dict[int | str, dict[str, Any]]:
    """Documents the problems of a route for OpenAPI, with their types."""
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for error in kinds:
        texts[error.status].append(f"{error.title}: `{errors.PROBLEM_TYPES}{error.problem}`.")
    content = {PROBLEM.decode(): {"schema": problem_schema()}}
    return {status: {"description": " ".join(each), "content": content} for status, each in texts.items()}


def answer_failures(app: FastAPI) -> None:
    """Answers every exception that a route of the app raises."""
    for kind in (SightlineError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)


def refusal_of(scope: Scope, error: SightlineError) -> Reply:
    """Makes the answer to an error in the shape of the protocol of the request's path."""
    if route_path(scope).startswith(PREFIXES):
        return refusal(error)
    timeline: Timeline | None = scope.get(TIMELINE)
    return problem_reply(error, timeline.trace_id_hex if timeline is not None else None)


async def _answer(request: Request, raised: Exception) -> Response:
    timeline: Timeline | None = request.scope.get(TIMELINE)
    error = _as_ours(raised)
    reply = refusal_of(request.scope, error)
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    if isinstance(raised, HTTPException):
        headers.update(raised.headers or {})
    if isinstance(error, errors.UnexpectedError):
        # Answered outside the telemetry middleware, which has ended the request by now; so the header is set here.
        ids = {} if timeline is None else {"trace_id": timeline.trace_id_hex, "span_id": f"{timeline.span_id:016x}"}
        _log.error("unexpected %s", type(raised).__qualname__, exc_info=raised, extra=ids)
        if timeline is not None:
            headers["traceresponse"] = timeline.traceresponse().decode()
    return Response(reply.body, reply.status, headers, reply.content_type.decode())


def _as_ours(raised: Exception) -> SightlineError:
    """Returns the error with which an exception is answered."""
    match raised:
        case SightlineError():
            return raised
        case HTTPException(status_code=status, detail=detail):
            known = {each.status: each for each in (errors.NotFoundError, errors.MethodNotAllowedError)}.get(status)
            return errors.HttpError(status, str(detail)) if known is None else known(str(detail))
        case RequestValidationError():
            wrong = raised.errors()[:MAX_FAULTS]
            faults = [Fault(fault["msg"], errors.shortened(str(fault["loc"][-1]))) for fault in wrong]
            detail = "; ".join(f"field {fault.field!r}: {fault.message}" for fault in faults)
            return errors.InvalidParameterError(detail, *faults)
    return errors.UnexpectedError("the service failed; its log has more under this trace id")
