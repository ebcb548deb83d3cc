"""The endpoint of every protocol of predictions: it reads, predicts, answers and counts; a dialect translates."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from sightline_service.bodies.aside import Aside
from sightline_service.bodies.encodings import unpack, window_of
from sightline_service.bodies.outline import WHOLE_BYTES
from sightline_service.errors import ClientGoneError, SightlineError
from sightline_service.feedback.prediction_ids import PredictionIds
from sightline_service.prediction.batching import Answer, Batcher
from sightline_service.prediction.columns import Columns
from sightline_service.prediction.recording import RowEncoder
from sightline_service.prediction.result import Prediction
from sightline_service.server.asgi import Reply, check_body, client_gone, encoding_of, read_body, respond
from sightline_telemetry.events.layout import ERROR_REASONS, IS_OWN_BATCH
from sightline_telemetry.events.slots import PREDICTING, WAITING
from sightline_telemetry.faults import Faults
from sightline_telemetry.requests.recording import EventSink
from sightline_telemetry.requests.running import TIMELINE
from sightline_telemetry.requests.timeline import PredictionRecord, Timeline

Asked = TypeVar("Asked")
"""The part of a request that a dialect needs again for the answer."""


SMALL_BYTES = 65_536
"""The event of a request with a larger body carries no text of it."""

FEW_ROWS = 1000
"""The answer for more rows than these takes longer than other requests should wait."""


@dataclass(frozen=True, slots=True)
class PredictionParts:
    """What the endpoints of one model share, whatever their protocol.

    model: the number under which events name it; None if nothing is counted.
    """

    batcher: Batcher
    ids: PredictionIds
    model: int | None
    encoder: RowEncoder
    sink: EventSink
    faults: Faults
    max_body_bytes: int
    aside: Aside


class Predicted(NamedTuple):
    """The content of an answer: the predictions of a request's rows, an id for each if wanted, and the trace id."""

    prediction: Prediction
    ids: list[str]
    trace_id: str


class Dialect(Protocol[Asked]):
    """Reads the rows and writes the answers of one protocol; it translates and does nothing else.

    content_types: of the bodies that it reads.
    """

    content_types: frozenset[bytes]

    def read(self, scope: Scope, body: bytes) -> tuple[Columns, Asked]:
        """Reads the columns of a request, and what its answer depends on. Raises SightlineError."""

    def wants_ids(self, asked: Asked) -> bool:  # noqa: ARG002
        """Returns whether the response has an id per row: signing them takes longer than some models do."""
        return True

    def answer(self, predicted: Predicted, asked: Asked) -> Reply:
        """Writes the response with the predictions."""

    def refuse(self, error: SightlineError, trace_id: str) -> Reply:
        """Writes the response to a request that gets no prediction."""


class PredictionEndpoint(Generic[Asked]):
    """Reads rows, has them predicted, and answers; what is counted of them leaves with the event of the request."""

    def __init__(self, dialect: Dialect[Asked], parts: PredictionParts) -> None:
        self._dialect = dialect
        self._predict_at_once = parts.batcher.predict_at_once
        self._predict = parts.batcher.predict
        self._make_ids = parts.ids.make
        self._model = parts.model
        self._encode = parts.encoder.encode
        self._slots = parts.sink.slots
        self._faults = parts.faults
        self._max_body_bytes = parts.max_body_bytes
        self._aside = parts.aside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request through ASGI."""
        try:
            body = await read_body(scope, receive, self._max_body_bytes, self._dialect.content_types)
            columns, asked, n_bytes = await self._read(scope, body)
            slot = self._phase(scope, PREDICTING)
            flags, answer = IS_OWN_BATCH, self._predict_at_once(columns)
            if answer is None:
                self._phase(scope, WAITING)
                flags, answer = 0, await self._predict(columns, partial(client_gone, receive), slot)
            if len(columns) > FEW_ROWS:
                reply = await self._aside.run(0, self._answered, scope, columns, asked, answer, flags, n_bytes)
            else:
                reply = self._answered(scope, columns, asked, answer, flags, n_bytes)
        except SightlineError as error:
            reply = self._refused(scope, error)
        except ClientGoneError:
            self._note_error(scope, "cancelled")
            return
        except BaseException as error:
            self._note_error(scope, "cancelled" if isinstance(error, asyncio.CancelledError) else "failed")
            raise
        await respond(send, reply)

    def answer_now(self, scope: Scope, body: bytes) -> Reply | None:
        """Answers a request whose body is whole; None if it has to wait for the model. See InlineEndpoint."""
        headers = dict(scope["headers"])
        if b"content-encoding" in headers:
            return None
        try:
            check_body(headers, len(body), self._max_body_bytes, self._dialect.content_types)
            columns, asked = self._dialect.read(scope, body)
            self._phase(scope, PREDICTING)
            answer = self._predict_at_once(columns)
            return None if answer is None else self._answered(scope, columns, asked, answer, IS_OWN_BATCH, len(body))
        except SightlineError as error:
            return self._refused(scope, error)

    async def _read(self, scope: Scope, body: bytes) -> tuple[Columns, Asked, int]:
        """Returns the columns, what the answer depends on, and the number of bytes that were read."""
        window = window_of(encoding_of(scope))
        if window or len(body) > WHOLE_BYTES:
            return await self._aside.run(len(body), self._read_unpacked, scope, body, window)
        return self._read_unpacked(scope, body, window)

    def _read_unpacked(self, scope: Scope, body: bytes, window: int) -> tuple[Columns, Asked, int]:
        body = unpack(body, window, self._max_body_bytes)
        return *self._dialect.read(scope, body), len(body)

    def _phase(self, scope: Scope, phase: int) -> int:
        """Shows other processes how far a request has come: it is named if this process dies. Returns its slot."""
        if self._slots is None:
            return -1
        timeline: Timeline = scope[TIMELINE]
        self._slots.phase(timeline.slot, phase)
        return timeline.slot

    def _answered(
        self, scope: Scope, columns: Columns, asked: Asked, answer: Answer, flags: int, n_bytes: int
    ) -> Reply:
        timeline: Timeline = scope[TIMELINE]
        prediction = answer.prediction
        ids = self._make_ids(prediction) if self._dialect.wants_ids(asked) else []
        reply = self._dialect.answer(Predicted(prediction, ids, timeline.trace_id_hex), asked)
        if self._model is not None:
            try:
                rows = self._encode(columns, prediction, is_small=n_bytes <= SMALL_BYTES)
                # A plain tuple of the same items, because a named one is made by Python code.
                timeline.prediction = (  # type: ignore[assignment]
                    self._model,
                    0,
                    len(prediction),
                    answer.batch_rows,
                    answer.batch,
                    answer.queued_ns,
                    prediction.marks,
                    ids[0] if ids else "",
                    rows,
                    flags,
                )
            except Exception:
                self._faults.note("recording")
        return reply

    def _refused(self, scope: Scope, error: SightlineError) -> Reply:
        timeline: Timeline = scope[TIMELINE]
        self._note_error(scope, error.reason)
        return self._dialect.refuse(error, timeline.trace_id_hex)

    def _note_error(self, scope: Scope, reason: str) -> None:
        if self._model is not None:
            timeline: Timeline = scope[TIMELINE]
            timeline.prediction = PredictionRecord(self._model, ERROR_REASONS.index(reason) + 1)
