"""`GET /predict/random`: a dummy model that makes spikes and errors on demand, counted like any model."""

import asyncio
from collections.abc import Awaitable, Callable
from random import expovariate, random
from secrets import token_urlsafe
from time import perf_counter_ns
from typing import Annotated

import numpy as np
from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from sightline_service.errors import InvalidParameterError, OtherSiteError, PredictionFailedError
from sightline_service.routes.openapi import ModelOut, PredictionOut, PredictOut
from sightline_service.routes.problems import documented_problems
from sightline_service.server.asgi import check_site
from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.events.layout import ERROR_REASONS, batch_event
from sightline_telemetry.faults import Faults
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import ReferenceProfile, profile_outcomes
from sightline_telemetry.requests.recording import EventSink
from sightline_telemetry.requests.running import TIMELINE
from sightline_telemetry.requests.timeline import PredictionRecord, Timeline

PATH = "/predict/random"
STEPS = ("delay",)
MAX_DELAY_S = 10.0
OUTCOMES = ("false", "true")

_NO_CODES = np.empty(0, dtype=np.intp)
PROFILE = ReferenceProfile(
    order=(),
    numeric=(),
    categorical=(),
    **profile_outcomes(OUTCOMES, _NO_CODES, _NO_CODES, np.empty((0, len(OUTCOMES)))),
)
MODEL = DescribedModel(ModelId("random", "1"), PROFILE, STEPS)
REJECTED, FAILED, CANCELLED = (PredictionRecord(0, reason) for reason in range(1, len(ERROR_REASONS) + 1))


class RandomQuery(BaseModel):
    """How long and how badly."""

    model_config = ConfigDict(extra="forbid")

    time_delay_scale: Annotated[float, Field(ge=0, le=MAX_DELAY_S, allow_inf_nan=False)] = 0.0
    """Mean of the exponentially distributed delay, in seconds; no delay is longer than 10 s."""

    error_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of requests that fail with 500."""


def random_route(model: int | None, sink: EventSink, faults: Faults) -> APIRoute:
    """Makes the route, which counts refused queries too. model: the number under which events name the dummy."""

    def note(request: Request, record: PredictionRecord) -> None:
        if model is not None:
            request.scope[TIMELINE].prediction = record._replace(model=model)

    async def predict_random(request: Request, query: Annotated[RandomQuery, Query()]) -> PredictOut:
        """Waits for an exponentially distributed time, then fails or predicts at random."""
        timeline: Timeline = request.scope[TIMELINE]
        queued_ns, start_ns = perf_counter_ns(), perf_counter_ns()
        try:
            await asyncio.sleep(_delay_s(query.time_delay_scale))
        except asyncio.CancelledError:
            note(request, CANCELLED)
            raise
        marks = start_ns, perf_counter_ns()
        if model is not None:
            with faults.contained("recording"):
                sink.write(batch_event(model, 1, marks, (start_ns - queued_ns,)))
        if random() < query.error_rate:  # noqa: S311  # not used for a secret
            note(request, FAILED._replace(queued_ns=queued_ns, marks=marks))
            raise PredictionFailedError("the dummy model fails at random, as often as error_rate requires")
        score = random()  # noqa: S311
        row = MODEL.row_layout.struct.pack(int(score > 0.5), 1 - score, score)
        note(request, PredictionRecord(0, 0, 1, 1, 0, queued_ns, marks, "", row))
        outcome = PredictionOut(
            prediction_id=f"{token_urlsafe(9)}.0",
            outcome=OUTCOMES[score > 0.5],
            probabilities=dict(zip(OUTCOMES, (1 - score, score), strict=True)),
        )
        served = ModelOut(name=MODEL.id.name, version=MODEL.id.version)
        return PredictOut(predictions=[outcome], model=served, trace_id=timeline.trace_id_hex)

    class CountingRoute(APIRoute):
        """FastAPI validates the query before the endpoint runs, so what it refuses is counted around it.

        An image in a page of another site would be such a GET, too.
        """

        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()

            async def handle_and_count(request: Request) -> Response:
                try:
                    check_site(dict(request.scope["headers"]))
                    return await handle(request)
                except (RequestValidationError, OtherSiteError):
                    note(request, REJECTED)
                    raise

            return handle_and_count

    errors = documented_problems(OtherSiteError, InvalidParameterError, PredictionFailedError)
    return CountingRoute(
        PATH, predict_random, methods=["GET"], response_model=PredictOut, responses=errors, tags=["predict"]
    )


def _delay_s(scale_s: float) -> float:
    return min(expovariate(1 / scale_s), MAX_DELAY_S) if scale_s else 0.0
