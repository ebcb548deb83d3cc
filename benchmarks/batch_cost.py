"""What measuring costs a nightly batch: 10^6 flights predicted with and without, in interleaved rounds.

    uv run python benchmarks/batch_cost.py [ROUNDS]

Each round predicts 10^6 flights in chunks of 100,000 with the demo's pipeline, once measured by
`telemetry.measurement` and once not, in turn first; prints the ratio of the times and how far memory grew. The
model is fitted on a tenth of the training flights: its trees are as large, and cost the same to ask.
"""

import resource
import sys
from statistics import median
from time import perf_counter, process_time

import pandas as pd
from threadpoolctl import threadpool_limits

from service.demo.flights import FEATURES, TARGET, load_flights, replay_months, training_months
from service.demo.pipeline import make_pipeline
from telemetry.frames import profile_frame
from telemetry.measurement import Measurement

N_ROWS = 1_000_000
CHUNK = 100_000
AIM = 1.05


def main(rounds: int) -> None:
    """Prints a line a round and the median ratio."""
    flights = load_flights()
    training = training_months(flights).sample(frac=0.1, random_state=0)
    data, labels = training[list(FEATURES)], training[TARGET]
    model = make_pipeline().fit(data, labels)
    profile = profile_frame(data, labels, model.predict(data), model.predict_proba(data))
    replayed = replay_months(flights)[list(FEATURES)]
    batch = pd.concat([replayed] * (N_ROWS // len(replayed) + 1), ignore_index=True).iloc[:N_ROWS]

    def predict(measure: Measurement | None) -> tuple[float, float]:
        start, worked = perf_counter(), process_time()
        for first in range(0, N_ROWS, CHUNK):
            rows = batch.iloc[first : first + CHUNK]
            predicted, probabilities = model.predict(rows), model.predict_proba(rows)
            if measure is not None:
                measure(rows, predicted, probabilities)
        return perf_counter() - start, process_time() - worked

    ratios, worked = [], []
    with Measurement("flights", "1", profile) as measure:
        measure(batch.iloc[:CHUNK], model.predict(batch.iloc[:CHUNK]), model.predict_proba(batch.iloc[:CHUNK]))
        for number in range(rounds):
            before = peak_mb()
            order = (measure, None) if number % 2 else (None, measure)
            times = {each: predict(each) for each in order}
            ratios.append(times[measure][0] / times[None][0])
            worked.append(times[measure][1] / times[None][1])
            print(
                f"round {number + 1}: {times[measure][0]:.2f} s measured, {times[None][0]:.2f} s not: "
                f"{ratios[-1]:.3f} (CPU time {worked[-1]:.3f}); peak memory {before:.0f} -> {peak_mb():.0f} MB"
            )
        rows = batch.iloc[:CHUNK]
        said = model.predict(rows), model.predict_proba(rows)
        start = perf_counter()
        measure(rows, *said)
        alone = (perf_counter() - start) * N_ROWS / CHUNK
        assert measure.recorder.rows() == rounds * N_ROWS + 2 * CHUNK
    print(f"measuring alone: {alone:.2f} s for {N_ROWS:,} rows")
    print(f"ratio {median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f}; aim: {AIM} at most)")


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    with threadpool_limits(1, user_api="openmp"):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
