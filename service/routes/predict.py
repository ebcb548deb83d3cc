"""`POST /predict/model`: a bare ASGI endpoint, since FastAPI's own work would cost more than a small model."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from service.batching import Answer, Batcher
from service.columns import ColumnBuilder, Columns
from service.errors import PROBLEM, SightlineError, problem
from service.predictor import Prediction
from service.routes.asgi import AsgiRoute, ClientGoneError, read_body, respond
from service.schema import InstanceReader, PredictOut, ProblemOut, request_model
from service.settings import Settings
from telemetry.faults import Faults
from telemetry.middleware import TIMELINE
from telemetry.recorder import ModelId, Recorder, Rows
from telemetry.timeline import AttributeValue, Segment, Timeline

PATH = "/predict/model"
_ERRORS = {
    400: "The body is not JSON.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "A value is not what the model takes; field and row are named.",
    500: "The model failed.",
    503: "Too many rows wait; try again after `Retry-After` seconds.",
}


@dataclass(frozen=True, slots=True)
class PredictionTrace:
    """Tells the segments of one request's prediction, if its trace is kept."""

    answer: Answer
    model: ModelId
    outcomes: tuple[str, ...]
    request_id: str

    def __call__(self) -> Iterable[Segment]:
        """`queue`, then `predict` with a child for each step of the pipeline."""
        answer, batch = self.answer, self.answer.batch
        yield Segment("queue", answer.queued_ns, batch.start_ns)
        steps = tuple(Segment(step.name, step.start_ns, step.end_ns) for step in answer.prediction.steps)
        yield Segment("predict", batch.start_ns, batch.end_ns, self._attributes(), steps)

    def _attributes(self) -> dict[str, AttributeValue]:
        prediction = self.answer.prediction
        outcomes = Counter(prediction.codes())
        return {
            **self.model.attributes,
            "ml.batch.id": self.answer.batch.number,
            "ml.batch.size": self.answer.batch.n_rows,
            "ml.request.rows": len(prediction),
            "ml.prediction.id": f"{self.request_id}.0",
            **{f"ml.outcome.{self.outcomes[code]}": count for code, count in sorted(outcomes.items())},
        }


class PredictEndpoint:
    """Reads rows, has them predicted, answers, and only then counts them: rows in responses, not in attempts."""

    def __init__(
        self,
        reader: InstanceReader,
        columns: ColumnBuilder,
        batcher: Batcher,
        recorder: Recorder,
        faults: Faults,
        max_body_bytes: int,
    ) -> None:
        self._read = reader.read
        self._columns = columns.build
        self._predict = batcher.predict
        self._recorder = recorder
        self._faults = faults
        self._max_body_bytes = max_body_bytes
        self._outcomes = recorder.profile.outcomes
        self._model = {"name": recorder.model.name, "version": recorder.model.version}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        timeline: Timeline = scope[TIMELINE]
        try:
            body = await read_body(scope, receive, self._max_body_bytes)
            columns = self._columns(self._read(body))
            answer = await self._predict(columns)
        except SightlineError as error:
            self._recorder.error(error.reason)
            problem_body = problem(error.status, error.detail, timeline.trace_id_hex, error.faults)
            await respond(send, error.status, problem_body, PROBLEM, error.retry_after_s)
            return
        except ClientGoneError:
            self._recorder.error("cancelled")
            return
        except BaseException as error:
            self._recorder.error("cancelled" if isinstance(error, asyncio.CancelledError) else "failed")
            raise
        request_id = token_urlsafe(9)
        timeline.segments = PredictionTrace(answer, self._recorder.model, self._outcomes, request_id)
        await respond(send, 200, self._render(answer, timeline, request_id))
        self._count(columns, answer)

    def _count(self, columns: Columns, answer: Answer) -> None:
        prediction = answer.prediction
        try:
            self._recorder.record(
                Rows(columns.numeric, columns.codes, prediction.outcomes, prediction.probabilities, prediction.values)
            )
        except Exception:
            self._faults.note("recorder")

    def _render(self, answer: Answer, timeline: Timeline, request_id: str) -> bytes:
        predictions = [
            {"prediction_id": f"{request_id}.{row}", **said} for row, said in enumerate(self._said(answer.prediction))
        ]
        return msgspec.json.encode(
            {"predictions": predictions, "model": self._model, "trace_id": timeline.trace_id_hex}
        )

    def _said(self, prediction: Prediction) -> Iterator[dict[str, object]]:
        """What the model said of each row: a value, or an outcome and, where there are any, probabilities."""
        names = self._outcomes
        if prediction.values is not None:
            return ({"value": value} for value in prediction.values.tolist())
        outcomes = (names[code] for code in prediction.codes())
        if prediction.probabilities is None:
            return ({"outcome": outcome} for outcome in outcomes)
        rows = zip(outcomes, prediction.probabilities.tolist(), strict=True)
        return ({"outcome": outcome, "probabilities": dict(zip(names, row, strict=True))} for outcome, row in rows)


def predict_route(endpoint: PredictEndpoint, recorder: Recorder, settings: Settings) -> AsgiRoute:
    """The route with its documentation; what it documents is held to what it does by a test."""

    async def predict(body: Any) -> Any:
        """Predicts one outcome an instance. A null is data; so is a category that training did not know."""

    predict.__annotations__ = {"body": request_model(recorder.profile, settings.max_rows), "return": PredictOut}
    errors = {status: {"description": text, "model": ProblemOut} for status, text in _ERRORS.items()}
    return AsgiRoute(
        PATH, predict, endpoint, methods=["POST"], response_model=PredictOut, responses=errors, tags=["predict"]
    )
