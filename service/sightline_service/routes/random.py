"""`GET /predict/random`: a dummy model that makes spikes and errors on demand, counted like any model."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from random import expovariate, random
from secrets import token_urlsafe
from time import perf_counter_ns
from typing import Annotated

import numpy as np
from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from sightline_service.errors import InvalidParameterError, PredictionFailedError
from sightline_service.routes.openapi import ModelOut, PredictionOut, PredictOut
from sightline_service.routes.problems import documented_problems
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile, profile_outcomes
from sightline_telemetry.model.recorder import PredictionRecorder, Rows
from sightline_telemetry.requests.middleware import TIMELINE
from sightline_telemetry.requests.timeline import Segment, Timeline

PATH = "/predict/random"
STEPS = ("delay",)
MAX_DELAY_S = 10.0
MODEL = ModelId("random", "1")
OUTCOMES = ("false", "true")

_NO_CODES = np.empty(0, dtype=np.intp)
PROFILE = ReferenceProfile(
    order=(),
    numeric=(),
    categorical=(),
    **profile_outcomes(OUTCOMES, _NO_CODES, _NO_CODES, np.empty((0, len(OUTCOMES)))),
)


class RandomQuery(BaseModel):
    """How long and how badly."""

    model_config = ConfigDict(extra="forbid")

    time_delay_scale: Annotated[float, Field(ge=0, le=MAX_DELAY_S, allow_inf_nan=False)] = 0.0
    """Mean of the exponentially distributed delay, in seconds; no delay is longer than 10 s."""

    error_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of requests that fail with 500."""


def random_route(recorder: PredictionRecorder, faults: Faults) -> APIRoute:
    """Makes the route, which counts refused queries too."""

    async def predict_random(request: Request, query: Annotated[RandomQuery, Query()]) -> PredictOut:
        """Waits for an exponentially distributed time, then fails or predicts at random."""
        timeline: Timeline = request.scope[TIMELINE]
        queued_ns, start_ns = perf_counter_ns(), perf_counter_ns()
        await _delay(query.time_delay_scale, recorder)
        end_ns = perf_counter_ns()
        timeline.segments = lambda: _segments(queued_ns, start_ns, end_ns)
        with faults.contained("recorder"):
            recorder.batch(1, (start_ns, end_ns), (start_ns - queued_ns,))
        if random() < query.error_rate:  # noqa: S311  # not used for a secret
            recorder.error("failed")
            raise PredictionFailedError("the dummy model fails at random, as often as error_rate requires")
        score = random()  # noqa: S311
        with faults.contained("recorder"):
            recorder.record(_row(score))
        outcome = PredictionOut(
            prediction_id=f"{token_urlsafe(9)}.0",
            outcome=OUTCOMES[score > 0.5],
            probabilities=dict(zip(OUTCOMES, (1 - score, score), strict=True)),
        )
        model = ModelOut(name=MODEL.name, version=MODEL.version)
        return PredictOut(predictions=[outcome], model=model, trace_id=timeline.trace_id_hex)

    class CountingRoute(APIRoute):
        """FastAPI validates the query before the endpoint runs, so what it refuses is counted around it."""

        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()

            async def handle_and_count(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError:
                    recorder.error("rejected")
                    raise

            return handle_and_count

    errors = documented_problems(InvalidParameterError, PredictionFailedError)
    return CountingRoute(
        PATH, predict_random, methods=["GET"], response_model=PredictOut, responses=errors, tags=["predict"]
    )


async def _delay(scale_s: float, recorder: PredictionRecorder) -> None:
    try:
        await asyncio.sleep(min(expovariate(1 / scale_s), MAX_DELAY_S) if scale_s else 0)
    except asyncio.CancelledError:
        recorder.error("cancelled")
        raise


def _segments(queued_ns: int, start_ns: int, end_ns: int) -> Iterable[Segment]:
    yield Segment("queue", queued_ns, start_ns)
    yield Segment("predict", start_ns, end_ns, MODEL.attributes, (Segment(STEPS[0], start_ns, end_ns),))


def _row(score: float) -> Rows:
    nothing = np.empty((0, 1))
    return Rows(nothing, nothing.astype(np.intp), np.array([int(score > 0.5)]), np.array([[1 - score, score]]))
