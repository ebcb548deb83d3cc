"""`POST /feedback`: true labels of predictions; each is answered, each is counted once."""

from collections import Counter
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from sightline_service import errors
from sightline_service.bodies.encodings import window_of
from sightline_service.errors import SightlineError
from sightline_service.feedback.worker import LedgerWorker
from sightline_service.routes.problems import documented_problems, problem_reply
from sightline_service.server.asgi import JSON, AsgiRoute, Reply, encoding_of, read_body, respond
from sightline_telemetry.requests.running import TIMELINE
from sightline_telemetry.requests.timeline import Timeline

PATH = "/feedback"
_ERRORS = (
    errors.MalformedBodyError,
    errors.BodyTooLargeError,
    errors.TooManyLabelsError,
    errors.UnsupportedMediaError,
    errors.UnsupportedEncodingError,
    errors.InvalidRowsError,
    errors.LedgerDownError,
)

Status = Literal["accepted", "corrected", "duplicate", "conflict", "late", "forged", "unknown_model", "unknown_outcome"]


class LabelIn(BaseModel):
    """A true label."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: str = Field(description="As it came with the prediction.")
    actual: str | float | bool | None = Field(description="The class, or in regression the value, that was true.")


class FeedbackIn(BaseModel):
    """True labels, in any order, at any time within the horizon, at any replica that has the key."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"labels": [{"prediction_id": "…", "actual": "late"}]}}
    )

    labels: list[LabelIn]


class FeedbackOut(BaseModel):
    """The verdict on each label, in their order, and the number of labels per verdict."""

    labels: list[Status]
    counts: dict[Status, int]
    trace_id: str


class FeedbackEndpoint:
    """Hands a body to the ledger's thread and answers with its verdicts."""

    def __init__(self, worker: LedgerWorker, max_body_bytes: int) -> None:
        self._worker = worker
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        timeline: Timeline = scope[TIMELINE]
        try:
            body = await read_body(scope, receive, self._max_body_bytes, {JSON})
            window = window_of(encoding_of(scope))
            verdicts = await self._worker.run(body, window, self._max_body_bytes)
        except SightlineError as error:
            await respond(send, problem_reply(error, timeline.trace_id_hex))
            return
        except errors.ClientGoneError:
            return
        answer = {"labels": verdicts, "counts": Counter(verdicts), "trace_id": timeline.trace_id_hex}
        await respond(send, Reply(msgspec.json.encode(answer)))


def feedback_route(endpoint: FeedbackEndpoint) -> AsgiRoute:
    """Makes the route with its documentation."""

    async def feedback(body: FeedbackIn) -> FeedbackOut:  # type: ignore[empty-body]
        """Takes true labels. Sending one again does no harm: it is a `duplicate`, or a `conflict` if it differs."""

    problems = documented_problems(*_ERRORS)
    return AsgiRoute(PATH, feedback, endpoint, response_model=FeedbackOut, responses=problems, tags=["feedback"])
