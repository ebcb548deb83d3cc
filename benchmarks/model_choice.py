"""Which classifier the demo serves: gradient boosting or logistic regression, side by side in one run.

    uv run python benchmarks/model_choice.py

Trains both on January to June and prints, for each: time to fit, AUC on every later month, log loss, the
time of one row and of 10,000 through the whole pipeline, and the types that skops does not trust by itself.
"""

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from sightline_service.demo.flights import FEATURES, LATE, TARGET, load_flights, replay_months, training_months
from sightline_service.demo.model import gradient_boosting, make_pipeline


def main() -> None:
    """Prints a line a classifier."""
    flights = load_flights()
    training, later = training_months(flights), replay_months(flights)
    title = f"{'':22}{'fit s':>7}  {'AUC July .. December':34}{'log loss':>9}{'1 row ms':>10}{'10,000 rows ms':>16}"
    print(f"{title}{'skops types':>13}")
    for name, classifier in (
        ("gradient boosting", gradient_boosting()),
        ("logistic regression", LogisticRegression(max_iter=1000)),
    ):
        start = perf_counter()
        model = make_pipeline(classifier).fit(training[list(FEATURES)], training[TARGET])
        fit_s = perf_counter() - start
        months = [month for _, month in later.groupby(later["scheduled"].dt.month)]
        aucs = " ".join(f"{_auc(model, month):.3f}" for month in months)
        score = model.predict_proba(later[list(FEATURES)])
        loss = log_loss(later[TARGET], score, labels=model.classes_)
        one, many = _ms(model, later[list(FEATURES)][:1], 50), _ms(model, later[list(FEATURES)][:10_000], 5)
        n_types = len(skops.io.get_untrusted_types(data=skops.io.dumps(model)))
        print(f"{name:22}{fit_s:>7.1f}  {aucs:34}{loss:>9.4f}{one:>10.2f}{many:>16.1f}{n_types:>13}")


def _auc(model: Any, flights: pd.DataFrame) -> float:
    late = list(model.classes_).index(LATE)
    score = model.predict_proba(flights[list(FEATURES)])[:, late]
    return float(roc_auc_score(np.asarray(flights[TARGET] == LATE), score))


def _ms(model: Any, rows: pd.DataFrame, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = perf_counter()
        model.predict_proba(rows)
        times.append(perf_counter() - start)
    return median(times) * 1e3


if __name__ == "__main__":
    main()
