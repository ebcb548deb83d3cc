"""What every route of predictions shares: read, predict, answer, count. A dialect says how one protocol writes it."""

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
from sightline_service.prediction.columns import Columns
from sightline_service.prediction.result import Prediction
from sightline_service.server.asgi import Reply, check_body, client_gone, read_body, respond
from sightline_service.server.asgi_bypass import Write
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.recorder import Recorder, Rows
from sightline_telemetry.requests.middleware import TIMELINE
from sightline_telemetry.requests.timeline import AttributeValue, Segment, Timeline

Asked = TypeVar("Asked")
"""What a dialect has to remember of a request until it is answered."""


@dataclass(slots=True)  # not frozen: every request makes one
class PredictionTrace:
    """Tells the segments of one request's prediction, if its trace is kept."""

    answer: Answer
    model: ModelId
    steps: tuple[str, ...]
    outcomes: tuple[str, ...]
    first_id: str | None

    def __call__(self) -> Iterable[Segment]:
        """`queue`, then `predict` with a child for each step of the pipeline."""
        marks = self.answer.prediction.marks
        yield Segment("queue", self.answer.queued_ns, marks[0])
        steps = tuple(starmap(Segment, zip(self.steps, marks, marks[1:], strict=False)))
        yield Segment("predict", marks[0], marks[-1], self._attributes(), steps)

    def _attributes(self) -> dict[str, AttributeValue]:
        prediction = self.answer.prediction
        outcomes = Counter(prediction.codes())
        return {
            **self.model.attributes,
            "ml.batch.id": self.answer.batch,
            "ml.batch.size": self.answer.batch_rows,
            "ml.request.rows": len(prediction),
            **({} if self.first_id is None else {"ml.prediction.id": self.first_id}),
            **{f"ml.outcome.{self.outcomes[code]}": count for code, count in sorted(outcomes.items())},
        }


class Predicted(NamedTuple):
    """What there is to answer: the predictions of a request's rows, an id for each if wanted, and the trace id."""

    prediction: Prediction
    ids: list[str]
    trace_id: str


class Answered:
    """What is counted of one response: what came in and what went out, not yet in arrays if it is small."""

    __slots__ = ("_n_rows", "columns", "prediction")

    def __init__(self, columns: Columns, prediction: Prediction, n_rows: int) -> None:
        self.columns = columns
        self.prediction = prediction
        self._n_rows = n_rows

    def __len__(self) -> int:
        """How many rows there are."""
        return self._n_rows


def joined_answers(parts: Sequence[Answered]) -> Rows:
    """The rows of several responses, as the recorder counts them: arrays are made once for all of them."""
    columns = Columns.joined([part.columns for part in parts])
    return Rows(columns.numeric, columns.codes, *Prediction.joined([part.prediction for part in parts]).arrays)


class Dialect(Protocol[Asked]):
    """How one protocol reads rows and writes answers; it translates and does nothing else.

    content_types: of the bodies that it reads.
    """

    content_types: frozenset[bytes]

    def read(self, scope: Scope, body: bytes) -> tuple[Columns, Asked]:
        """The columns of a request. Raises SightlineError."""
        ...

    def wants_ids(self, asked: Asked) -> bool:
        """Whether the response is to say an id for each row: signing them takes longer than many a model."""
        ...

    def answer(self, predicted: Predicted, asked: Asked) -> Reply:
        """The response with the predictions."""
        ...

    def refuse(self, error: SightlineError, trace_id: str) -> Reply:
        """The response to a request that has no prediction."""
        ...


class PredictionEndpoint(Generic[Asked]):
    """Reads rows, has them predicted, answers, and only then counts them: rows in responses, not in attempts."""

    def __init__(
        self,
        dialect: Dialect[Asked],
        batcher: Batcher,
        ids: PredictionIds,
        recorder: Recorder,
        faults: Faults,
        max_body_bytes: int,
    ) -> None:
        self._dialect = dialect
        self._predict_at_once = batcher.predict_at_once
        self._predict = batcher.predict
        self._make_ids = ids.make
        self._recorder = recorder
        self._faults = faults
        self._max_body_bytes = max_body_bytes
        self._outcomes = recorder.profile.outcomes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        timeline: Timeline = scope[TIMELINE]
        try:
            body = await read_body(scope, receive, self._max_body_bytes, self._dialect.content_types)
            columns, asked = self._dialect.read(scope, body)
            answer = self._predict_at_once(columns)
            if answer is None:
                answer = await self._predict(columns, partial(client_gone, receive))
            reply = self._reply(answer, asked, timeline)
        except SightlineError as error:
            self._recorder.error(error.reason)
            await respond(send, self._dialect.refuse(error, timeline.trace_id_hex))
            return
        except ClientGoneError:
            self._recorder.error("cancelled")
            return
        except BaseException as error:
            self._recorder.error("cancelled" if isinstance(error, asyncio.CancelledError) else "failed")
            raise
        await respond(send, reply)
        self._count(columns, answer.prediction)

    def serve_at_once(self, scope: Scope, body: bytes, write: Write) -> bool:
        """Answers a request whose body is whole; see InlineEndpoint."""
        timeline: Timeline = scope[TIMELINE]
        try:
            check_body(dict(scope["headers"]), len(body), self._max_body_bytes, self._dialect.content_types)
            columns, asked = self._dialect.read(scope, body)
            answer = self._predict_at_once(columns)
            if answer is None:
                return False
            reply = self._reply(answer, asked, timeline)
        except SightlineError as error:
            refusal = self._dialect.refuse(error, timeline.trace_id_hex)
            self._recorder.error(error.reason)
            write(refusal)
            return True
        write(reply)
        self._count(columns, answer.prediction)
        return True

    def _reply(self, answer: Answer, asked: Asked, timeline: Timeline) -> Reply:
        ids = self._make_ids(answer.prediction) if self._dialect.wants_ids(asked) else []
        first = ids[0] if ids else None
        timeline.segments = PredictionTrace(answer, self._recorder.model, self._recorder.steps, self._outcomes, first)
        return self._dialect.answer(Predicted(answer.prediction, ids, timeline.trace_id_hex), asked)

    def _count(self, columns: Columns, prediction: Prediction) -> None:
        try:
            self._recorder.record(Answered(columns, prediction, len(prediction)))
        except Exception:
            self._faults.note("recorder")
