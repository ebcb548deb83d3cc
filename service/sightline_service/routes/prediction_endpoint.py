"""The endpoint of every protocol of predictions: it reads, predicts, answers and counts; a dialect translates."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Generic, NamedTuple, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from sightline_service.errors import ClientGoneError, SightlineError
from sightline_service.feedback.prediction_ids import PredictionIds
from sightline_service.prediction.batching import Answer, Batcher
from sightline_service.prediction.columns import Columns, join_columns
from sightline_service.prediction.result import Prediction, join_predictions
from sightline_service.server.asgi import Exchange, Reply, check_body, client_gone, read_body, respond
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.recorder import PredictionRecorder, Rows
from sightline_telemetry.requests.middleware import TIMELINE
from sightline_telemetry.requests.timeline import AttributeValue, Segment, Timeline

Asked = TypeVar("Asked")
"""The part of a request that a dialect needs again for the answer."""


@dataclass(frozen=True, slots=True)
class PredictionParts:
    """What the endpoints of one model share, whatever their protocol.

    steps: names of the model's steps, for its traces. outcomes: the classes; empty in regression.
    """

    batcher: Batcher
    ids: PredictionIds
    recorder: PredictionRecorder
    faults: Faults
    model: ModelId
    steps: tuple[str, ...]
    outcomes: tuple[str, ...]
    max_body_bytes: int


@dataclass(slots=True)  # not frozen: every request makes one
class PredictionTrace:
    """Makes the segments of one request's prediction, if its trace is kept."""

    answer: Answer
    parts: PredictionParts
    first_id: str | None

    def __call__(self) -> Iterable[Segment]:
        """Yields `queue`, then `predict` with a child per step of the pipeline."""
        marks = self.answer.prediction.marks
        yield Segment("queue", self.answer.queued_ns, marks[0])
        steps = tuple(starmap(Segment, zip(self.parts.steps, marks, marks[1:], strict=False)))
        yield Segment("predict", marks[0], marks[-1], self._attributes(), steps)

    def _attributes(self) -> dict[str, AttributeValue]:
        prediction = self.answer.prediction
        outcomes = Counter(prediction.outcome_list())
        return {
            **self.parts.model.attributes,
            "ml.batch.id": self.answer.batch,
            "ml.batch.size": self.answer.batch_rows,
            "ml.request.rows": len(prediction),
            **({} if self.first_id is None else {"ml.prediction.id": self.first_id}),
            **{f"ml.outcome.{self.parts.outcomes[code]}": count for code, count in sorted(outcomes.items())},
        }


class Predicted(NamedTuple):
    """The content of an answer: the predictions of a request's rows, an id for each if wanted, and the trace id."""

    prediction: Prediction
    ids: list[str]
    trace_id: str


@dataclass(slots=True)
class Answered:
    """The rows of one response, to be counted: their columns and predictions, not yet arrays if they are few."""

    columns: Columns
    prediction: Prediction

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.prediction)


def joined_answers(parts: Sequence[Answered]) -> Rows:
    """Joins the rows of several responses for the recorder: arrays are made once for all of them."""
    numeric, _, codes = join_columns([part.columns for part in parts]).arrays
    return Rows(numeric, codes, *join_predictions([part.prediction for part in parts]).arrays)


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
    """Reads rows, has them predicted, answers and counts: rows in responses, not in attempts."""

    def __init__(self, dialect: Dialect[Asked], parts: PredictionParts) -> None:
        self._dialect = dialect
        self._predict_at_once = parts.batcher.predict_at_once
        self._predict = parts.batcher.predict
        self._make_ids = parts.ids.make
        self._recorder = parts.recorder
        self._faults = parts.faults
        self._parts = parts
        self._max_body_bytes = parts.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request through ASGI."""
        try:
            body = await read_body(scope, receive, self._max_body_bytes, self._dialect.content_types)
            columns, asked = self._dialect.read(scope, body)
            answer = self._predict_at_once(columns)
            if answer is None:
                answer = await self._predict(columns, partial(client_gone, receive))
            exchange = self._answered(scope, columns, asked, answer)
        except SightlineError as error:
            exchange = self._refused(scope, error)
        except ClientGoneError:
            self._recorder.error("cancelled")
            return
        except BaseException as error:
            self._recorder.error("cancelled" if isinstance(error, asyncio.CancelledError) else "failed")
            raise
        self.count(exchange)
        await respond(send, exchange.reply)

    def answer_now(self, scope: Scope, body: bytes) -> Exchange | None:
        """Answers a request whose body is whole; None if it has to wait for the model. See InlineEndpoint."""
        try:
            check_body(dict(scope["headers"]), len(body), self._max_body_bytes, self._dialect.content_types)
            columns, asked = self._dialect.read(scope, body)
            answer = self._predict_at_once(columns)
            return None if answer is None else self._answered(scope, columns, asked, answer)
        except SightlineError as error:
            return self._refused(scope, error)

    def count(self, exchange: Exchange) -> None:
        """Counts the rows of a reply, or the refusal."""
        if exchange.error is not None:
            self._recorder.error(exchange.error.reason)
        elif exchange.rows is not None:
            try:
                self._recorder.record(exchange.rows)
            except Exception:
                self._faults.note("recorder")

    def _answered(self, scope: Scope, columns: Columns, asked: Asked, answer: Answer) -> Exchange:
        timeline: Timeline = scope[TIMELINE]
        prediction = answer.prediction
        ids = self._make_ids(prediction) if self._dialect.wants_ids(asked) else []
        first = ids[0] if ids else None
        timeline.segments = PredictionTrace(answer, self._parts, first)
        reply = self._dialect.answer(Predicted(prediction, ids, timeline.trace_id_hex), asked)
        return Exchange(reply, Answered(columns, prediction))

    def _refused(self, scope: Scope, error: SightlineError) -> Exchange:
        timeline: Timeline = scope[TIMELINE]
        return Exchange(self._dialect.refuse(error, timeline.trace_id_hex), error=error)
