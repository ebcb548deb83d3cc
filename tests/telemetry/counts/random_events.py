"""Random events of a small service with a classifier and a regressor, for Hypothesis."""

from dataclasses import dataclass
from math import inf, nan

import numpy as np
from hypothesis import strategies as st

from sightline_telemetry.counts.description import DescribedModel
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.http_codes import METHODS
from sightline_telemetry.events.layout import (
    ERROR_REASONS,
    FAULT,
    IS_OWN_BATCH,
    LOG,
    NO_MODEL,
    NO_ROUTE,
    Texts,
    batch_event,
    body_event,
)
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import (
    ReferenceProfile,
    profile_categorical,
    profile_numeric,
    profile_outcomes,
    profile_values,
)
from sightline_telemetry.model.rows import Rows
from tests.telemetry.rows import encoded
from tests.telemetry.serving import ENDED, FAULT_PLACES, describe, written

NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([nan, inf, -inf, 1e300, -1e300, 0.0, 1.0])
MARKS_NS = st.integers(0, 10**10)


@dataclass(frozen=True)
class Served:
    """The models of the service, and its series."""

    models: tuple[DescribedModel, ...]
    table: SeriesTable


def _service() -> Served:
    random = np.random.default_rng(8)
    inputs = {
        "order": ("x", "word"),
        "numeric": (profile_numeric("x", random.normal(0, 1, 100)),),
        "categorical": (profile_categorical("word", ["a", "b"] * 50),),
    }
    codes = np.repeat([0, 1, 2], 40)
    classes = ReferenceProfile(**inputs, **profile_outcomes(("p", "q", "r"), codes, codes, np.full((120, 3), 1 / 3)))  # type: ignore[arg-type]
    values = random.normal(0, 10, 100)
    numbers = ReferenceProfile(**inputs, **profile_values(values, values))  # type: ignore[arg-type]
    models = (
        DescribedModel(ModelId("c", "1"), classes, ("one", "two")),
        DescribedModel(ModelId("r", "1"), numbers, ("only",)),
    )
    return Served(models, SeriesTable(describe(*models)))


REQUESTS = _service()


@st.composite
def rows(draw: st.DrawFn, model: DescribedModel) -> Rows:
    """Up to four rows of a model."""
    n = draw(st.integers(0, 4))

    def several(of: st.SearchStrategy[float], width: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        drawn = draw(st.lists(of, min_size=n * width, max_size=n * width))
        return np.array(drawn, dtype=np.float64).reshape(n, width)

    numeric, codes = several(NUMBERS, 1).T, several(st.integers(0, 3), 1).T.astype(np.intp)
    if model.row_layout.has_outcomes:
        outcomes = several(st.integers(0, 2), 1)[:, 0].astype(np.intp)
        return Rows(numeric, codes, outcomes, several(NUMBERS, 3))
    return Rows(numeric, codes, None, None, several(NUMBERS, 1)[:, 0])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """The event of a request, predicted or not, of any kind."""
    number = draw(st.sampled_from([NO_MODEL, 0, 1]))
    route, text = draw(st.sampled_from([(0, b""), (1, b""), (NO_ROUTE, b""), (NO_ROUTE, b"/more/{x}")]))
    event = ENDED._replace(
        method=draw(st.integers(0, len(METHODS) - 1)),
        scheme=draw(st.integers(0, 1)),
        version=draw(st.integers(0, 4)),
        status=draw(st.sampled_from([0, 200, 404, 500])),
        route=route,
        end_ns=ENDED.start_ns + draw(MARKS_NS),
        texts=Texts(b"/", route=text),
    )
    if number == NO_MODEL:
        return written(event)
    model = REQUESTS.models[number]
    found = draw(rows(model))
    event = event._replace(
        model=number,
        n_rows=len(found),
        rows=encoded(model, found),
        reason=draw(st.integers(0, len(ERROR_REASONS))),
        batch_rows=draw(st.integers(0, 10_000)),
        marks=tuple(sorted(draw(st.lists(MARKS_NS, min_size=len(model.steps) + 1, max_size=len(model.steps) + 1)))),
    )
    is_own_batch = draw(st.booleans())
    return written(event._replace(flags=IS_OWN_BATCH, queued_ns=event.marks[0] // 2) if is_own_batch else event)


BATCHES = st.builds(
    batch_event,
    st.integers(0, 1),
    st.integers(1, 10_000),
    st.lists(MARKS_NS, min_size=2, max_size=3).map(sorted),
    st.lists(MARKS_NS, max_size=4),
)
FAULTS = st.sampled_from(FAULT_PLACES).map(lambda place: body_event(FAULT, place.encode()))
OTHERS = st.just(body_event(LOG, b"a line\n"))


def some_events() -> st.SearchStrategy[list[bytes]]:
    """A few events of every type that a service writes."""
    return st.lists(st.one_of(requests(), requests(), BATCHES, FAULTS, OTHERS), max_size=12)
