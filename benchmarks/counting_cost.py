"""What counting costs a request of 10,000 rows, and whether its answer is the pipeline's own.

    uv run python benchmarks/counting_cost.py [BUNDLE]

Sends 10,000 flights of July in one request to a service on loopback, compares the answer with
`pipeline.predict` and `predict_proba` on the same DataFrame, and times the recorder on the same rows: all three
in interleaved rounds of one run. BUNDLE is the demo's by default; it is trained if it is not there.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter, sleep
from typing import Any

import httpx2 as httpx
import msgspec
import numpy as np
import pandas as pd
import uvicorn

from service.app import create_app
from service.bundle import Bundle, load_bundle
from service.cli import DEMO_BUNDLE
from service.columns import ColumnBuilder
from service.demo.stream import FlightStream
from service.demo.training import train
from service.predictor import Predictor
from service.schema import InstanceReader
from telemetry.recorder import ModelId, Recorder, Rows

N_ROWS = 10_000
ROUNDS = 9
AIM = 0.05


def main(folder: Path) -> None:
    """Prints the comparison and the three times."""
    if not folder.exists():
        train(folder, print)
    bundle = load_bundle(folder)
    instances = FlightStream().take(N_ROWS)
    body = msgspec.json.encode({"instances": instances})
    data = pd.DataFrame(instances)[list(bundle.profile.order)]
    data = data.astype({feature.name: np.float64 for feature in bundle.profile.numeric})
    count = counting(bundle, body)
    server = uvicorn.Server(uvicorn.Config(create_app(bundle=folder, request_log=False), port=0, log_level="error"))
    Thread(target=server.run, daemon=True).start()
    while not server.started:
        sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        def request() -> Any:
            headers = {"content-type": "application/json"}
            return client.post("/predict/model", content=body, headers=headers).raise_for_status().json()

        compare(bundle, data, request())
        measure(bundle, data, request, count)
    server.should_exit = True


def counting(bundle: Bundle, body: bytes) -> Callable[[], None]:
    """Counts the rows of a body with a recorder of its own."""
    reader = InstanceReader(bundle.profile, N_ROWS)
    columns = ColumnBuilder(bundle.profile, reader.fields).build(reader.read(body))
    predictor = Predictor(bundle.model, bundle.profile)
    predicted = predictor.predict(columns)
    rows = Rows(columns.numeric, columns.codes, predicted.outcomes, predicted.probabilities)
    recorder = Recorder(ModelId("flights", "1"), bundle.profile, predictor.steps)
    return lambda: recorder.record(rows)


def compare(bundle: Bundle, data: pd.DataFrame, answer: Any) -> None:
    """Prints how far the answer is from the pipeline's own."""
    classes = [str(each) for each in bundle.model.classes_]
    outcomes = [each["outcome"] for each in answer["predictions"]]
    ours = np.array([[each["probabilities"][name] for name in classes] for each in answer["predictions"]])
    same = sum(a == b for a, b in zip(outcomes, bundle.model.predict(data).tolist(), strict=True))
    gap = float(np.abs(ours - bundle.model.predict_proba(data)).max())
    print(f"{same:,} of {len(data):,} outcomes equal pipeline.predict; probabilities differ by {gap:.1e} at most")


def measure(bundle: Bundle, data: pd.DataFrame, request: Callable[[], Any], count: Callable[[], None]) -> None:
    """Prints the times of the request, of counting it, and of the pipeline alone."""
    times: dict[str, list[float]] = {"request": [], "counting": [], "predict_proba": []}
    for _ in range(ROUNDS):
        for name, work in (
            ("request", request),
            ("counting", count),
            ("predict_proba", lambda: bundle.model.predict_proba(data)),
        ):
            start = perf_counter()
            work()
            times[name].append((perf_counter() - start) * 1e3)
    for name, each in times.items():
        print(f"{name:14} {median(each):8.2f} ms ({min(each):.2f} .. {max(each):.2f})")
    shares = [a / b for a, b in zip(times["counting"], times["request"], strict=True)]
    print(f"counting is {median(shares):.1%} of the request ({min(shares):.1%} .. {max(shares):.1%}; aim: {AIM:.0%})")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO_BUNDLE)
