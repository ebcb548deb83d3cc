"""Large requests through the real server, everything on, against the pipeline alone on rows that are ready.

The pipeline gets a DataFrame that is ready; a request brings JSON that has to be read, and its rows are
counted and answered with an id each. Both in turn, in interleaved rounds. What the server answers and counts is
checked first.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from rich.console import Console
from threadpoolctl import threadpool_limits

from benchmarks.bodies import Body, binary_tensors, instances
from benchmarks.claims import Claim, at_most
from benchmarks.load import HOST, drive, post
from benchmarks.models import CLASSIFIERS, bundle_folder
from benchmarks.profile import RunProfile
from benchmarks.results_table import spread
from benchmarks.servers import KINDS, SINK, Server, running
from sightline_service.bundles.bundle import Bundle, load_bundle
from sightline_service.demo.flights import FEATURES, load_flights, replay_months
from sightline_service.prediction.columns import ColumnBuilder
from sightline_service.prediction.instances import InstanceReader
from sightline_service.prediction.predictor import Predictor
from sightline_service.prediction.recording import RowEncoder
from sightline_telemetry.counts.counts import Counts
from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.fold import Block
from sightline_telemetry.counts.row_arrays import row_array
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.model.model_id import ModelId

N_ROWS = 10_000
N_BODIES = 10
WAYS = {"objects": "/predict/model", "tensors": "/v2/models/flights/infer"}
"""How rows are sent: an object a row, answered with an id each; or a tensor a feature, answered without ids."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Seconds a round: of some requests of N_ROWS, one after the other, and of predict_proba on all their rows.

    threads: of OpenMP and BLAS, in both. counting_s: of writing the rows of one request as bytes, and of folding them.
    """

    model: str
    way: str
    threads: int
    requests: int
    served_s: tuple[float, ...]
    alone_s: tuple[float, ...]
    counting_s: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """The server's time as a multiple of the pipeline's, round by round."""
        return [a / b for a, b in zip(self.served_s, self.alone_s, strict=True)]

    def line(self) -> str:
        """A row of the table."""
        served, alone = spread(each * 1e3 for each in self.served_s), spread(each * 1e3 for each in self.alone_s)
        counting = f"{median(self.counting_s) * 1e3 * self.requests:.2f}"
        what = f"{self.model} | {self.way} | {self.requests * N_ROWS:,} | {self.threads}"
        return f"| {what} | {served} | {alone} | {spread(self.ratios)} | {counting} |"


@dataclass(frozen=True, slots=True)
class Flights:
    """frames: of N_ROWS rows, as the pipeline wants them. bodies: the same rows as they are sent, by way."""

    frames: Sequence[pd.DataFrame]
    bodies: Mapping[str, Sequence[Body]]


def measure(run_profile: RunProfile, console: Console) -> Iterator[list[Bulk]]:
    """One request, then many, with both models; gives what there is after each."""
    bulks: list[Bulk] = []
    for model in CLASSIFIERS:
        bundle = load_bundle(bundle_folder(model))
        flights = flight_batches(bundle)
        threads = _best_threads(bundle, flights.frames[0])
        environment = {**KINDS["F"].environment, "OMP_NUM_THREADS": str(threads)}
        kind = replace(KINDS["F"], environment=environment)
        with (
            threadpool_limits(threads),
            running(SINK, Path(), 0) as sink,
            running(kind, bundle_folder(model), sink.port) as server,
        ):
            _check(server.port, bundle, flights)
            for n_requests, way in product((1, run_profile.bulk_requests), WAYS):
                times = _interleaved(_works(server, bundle, flights, way, n_requests), _rounds(run_profile, n_requests))
                bulks.append(Bulk(model, way, threads, n_requests, *times))
                console.print(bulks[-1].line())
                yield bulks


def section(bulks: Sequence[Bulk]) -> list[str]:
    """A table, and what is compared."""
    return [
        f"Requests of {N_ROWS:,} rows, one after the other over one connection, through the real server with "
        "everything on (body read, rows counted, answered), against `pipeline.predict_proba` alone on a DataFrame that "
        "is ready. As objects to `/predict/model`, answered with an id each; or as tensors of the Open Inference "
        "Protocol, one per feature, and numbers as binary data, answered with outcomes and probabilities. "
        "Times in ms: median and range of interleaved rounds. Both have as many OpenMP "
        "threads as make the pipeline quickest here. The answers are those of the pipeline, and `/metrics` has counted "
        "every row: the run stops if not. Counting is the time to write as many rows into an event, which is a part of "
        "what is served, and to fold them, which the observer does.",
        "",
        "| model | sent as | rows | threads | served | predict_proba alone | ratio | counting |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(bulk.line() for bulk in bulks),
    ]


def claims(bulks: Sequence[Bulk]) -> list[Claim]:
    """One large request takes no longer than the pipeline alone."""
    what = f"{N_ROWS:,} rows in one request, counted: time, times predict_proba alone"
    return [
        Claim(f"{bulk.model}, as {bulk.way}, {what}", at_most(1), bulk.ratios) for bulk in bulks if bulk.requests == 1
    ]


def _rounds(run_profile: RunProfile, n_requests: int) -> int:
    """Many for one request, which is quick; fewer for many, which take most of a minute."""
    return 4 * run_profile.rounds if n_requests == 1 else max(1, run_profile.rounds - 2)


def _works(server: Server, bundle: Bundle, flights: Flights, way: str, n_requests: int) -> list[Callable[[], object]]:
    requests = [post(WAYS[way], body.content, server.port, body.headers) for body in flights.bodies[way]]
    rows = pd.concat([flights.frames[at % N_BODIES] for at in range(n_requests)], ignore_index=True)
    return [
        lambda: drive(server.port, requests, clients=1, seconds=600, at_most=n_requests),
        lambda: bundle.model.predict_proba(rows),
        _counting(bundle, flights.bodies["objects"][0].content),
    ]


def _interleaved(works: Sequence[Callable[[], object]], rounds: int) -> list[tuple[float, ...]]:
    """Seconds of each work in each round; the first round only warms up."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, each in zip(works, times, strict=True):
            start = perf_counter()
            work()
            if number:
                each.append(perf_counter() - start)
    return [tuple(each) for each in times]


def _best_threads(bundle: Bundle, rows: pd.DataFrame) -> int:
    """One, or as many as there are cores: whichever makes the pipeline quicker on these rows."""
    times = {}
    for threads in (1, os.cpu_count() or 1):
        with threadpool_limits(threads):
            times[threads] = min(_interleaved([lambda: bundle.model.predict_proba(rows)], 5)[0])
    return min(times, key=lambda threads: times[threads])


def flight_batches(bundle: Bundle) -> Flights:
    """Flights of the second half of the year, shuffled."""
    rows = replay_months(load_flights())[list(FEATURES)].sample(N_ROWS * N_BODIES, random_state=1)
    numeric = {feature.name: np.float64 for feature in bundle.profile.numeric}
    parts = [rows.iloc[at * N_ROWS : (at + 1) * N_ROWS] for at in range(N_BODIES)]
    frames = [part[list(bundle.profile.order)].astype(numeric).reset_index(drop=True) for part in parts]
    sent: list[Any] = [part.astype(object).replace({np.nan: None}).to_dict("records") for part in parts]
    bodies = {
        "objects": [Body(msgspec.json.encode(instances(rows))) for rows in sent],
        "tensors": [binary_tensors(rows) for rows in sent],
    }
    return Flights(frames, bodies)


def _check(port: int, bundle: Bundle, flights: Flights) -> None:
    """Sends one body each way, and compares the answers and the counts with the pipeline's own."""
    expected, chosen = bundle.model.predict_proba(flights.frames[0]), bundle.model.predict(flights.frames[0]).tolist()
    answer = msgspec.json.decode(_ask(port, "POST", WAYS["objects"], flights.bodies["objects"][0]))["predictions"]
    names = [str(name) for name in bundle.model.classes_]
    ours = np.array([[each["probabilities"][name] for name in names] for each in answer])
    assert np.abs(ours - expected).max() < 1e-9
    assert [each["outcome"] for each in answer] == chosen
    tensors = _ask(port, "POST", WAYS["tensors"], flights.bodies["tensors"][0])
    binary = np.frombuffer(tensors[-expected.nbytes :]).reshape(expected.shape)
    assert np.abs(binary - expected).max() < 1e-9
    assert msgspec.json.decode(tensors[: -expected.nbytes])["outputs"][0]["data"] == chosen
    lines = _ask(port, "GET", "/metrics").decode().splitlines()
    counts = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("ml_predictions_total{")]
    assert sum(counts) == 2 * N_ROWS


def _ask(port: int, method: str, path: str, body: Body | None = None) -> bytes:
    connection = HTTPConnection(HOST, port, timeout=60)
    try:
        headers = {"content-type": "application/json", **body.headers} if body else {}
        connection.request(method, path, body.content if body else None, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise ConnectionError(f"{method} {path} answered {response.status}: {content[:300]!r}")
        return content
    finally:
        connection.close()


def _counting(bundle: Bundle, body: bytes) -> Callable[[], Any]:
    """Writes the rows of a body as bytes and folds them, as a worker and the observer do."""
    reader = InstanceReader(bundle.profile, N_ROWS)
    columns = ColumnBuilder(bundle.profile).build(reader.read(body))
    predictor = Predictor(bundle.model, bundle.profile)
    prediction = predictor.predict(columns)
    model = DescribedModel(ModelId("flights", "1"), bundle.profile, predictor.steps)
    encoder, table = RowEncoder(model), SeriesTable(Description((model,)))

    def count() -> Counts:
        block = Block(table)
        block.add_rows(0, row_array(model, [encoder.encode(columns, prediction, is_small=False)]))
        return block.counts()

    return count
