"""What Evidently or NannyML say of the windows in a file, by their defaults; run by drift_honesty.py in their own
environments.

    python drift_others.py evidently windows.npz

windows.npz holds `reference`, (n_rows, n_features), and `windows`, (n_windows, n, n_features), NaN where missing.
Prints the share of features and windows that are said to drift.
"""

import sys
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd


def evidently(reference: Any, windows: Any) -> float:
    """The statistical test that Evidently chooses for each column by itself, with its own threshold."""
    stattests = import_module("evidently.legacy.calculations.stattests")
    numerical = import_module("evidently.legacy.core").ColumnType.Numerical
    flags = []
    for window in windows:
        for feature in range(reference.shape[1]):
            before, now = (pd.Series(rows[:, feature]).dropna() for rows in (reference, window))
            test = stattests.get_stattest(before, now, numerical, None)
            flags.append(len(now) > 0 and bool(test(before, now, numerical, None).drifted))
    return float(np.mean(flags))


def nannyml(reference: Any, windows: Any) -> float:
    """NannyML's univariate calculator: Jensen-Shannon beyond three deviations of the reference's own chunks."""
    names = [f"f{feature}" for feature in range(reference.shape[1])]
    calculator = import_module("nannyml").UnivariateDriftCalculator(column_names=names, chunk_size=windows.shape[1])
    calculator.fit(pd.DataFrame(reference, columns=names))
    analysis = pd.DataFrame(windows.reshape(-1, len(names)), columns=names)
    result = calculator.calculate(analysis).filter(period="analysis").to_df()
    return float(np.mean([result[(name, "jensen_shannon", "alert")] for name in names]))


if __name__ == "__main__":
    data = np.load(sys.argv[2])
    print({"evidently": evidently, "nannyml": nannyml}[sys.argv[1]](data["reference"], data["windows"]))
