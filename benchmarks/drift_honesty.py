"""How often the shipped drift rules err, beside the usual ones; writes docs/drift.md.

    uv run python benchmarks/drift_honesty.py

All methods judge the same seeded windows. Evidently and NannyML are the real packages with their defaults, each in
an environment of its own, made once by uv in ~/.cache/sightline-drift (or DRIFT_CACHE). Takes minutes.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.drift_cases import N_FEATURES, N_REFERENCE, DriftCase, flights, independent
from prometheus import drift_limits
from prometheus.windows import Windows, parse, text
from sightline_telemetry.model import drift
from sightline_telemetry.model.histogram import Floats
from sightline_telemetry.model.profile import N_BINS, deciles

PAGE = Path(__file__).parents[1] / "docs" / "drift.md"
OTHERS = {
    "evidently": ("evidently==0.7.23", "pandas<3"),
    "nannyml": ("nannyml==0.13.1", "pandas<3", "statsmodels"),
}
EPSILON = 1e-4
SEED = 13
MONTHS = 12
ROWS_PER_HOUR = 1_000

Judge = Callable[[DriftCase], float]


def shipped(case: DriftCase, effect: drift_limits.Effect = drift_limits.STRICT, *, has_floors: bool = False) -> float:
    """Share of features and windows that the rules' oracle says to drift; the floor is learnt from past windows."""
    flags: list[bool] = []
    for feature in range(case.reference.shape[1]):
        bounds, reference, windows = _binned(case, feature)
        floors = _floors(bounds, reference, case, feature) if has_floors else None
        findings = [drift_limits.numeric_findings(reference, window, floors, effect) for window in windows]
        flags += [any(finding.is_drift for finding in found) for found in findings]
    return float(np.mean(flags))


def psi_rule(case: DriftCase) -> float:
    """PSI over deciles with an epsilon in empty bins, above 0.1."""
    flags = []
    for feature in range(case.reference.shape[1]):
        _, reference, windows = _binned(case, feature)
        q = np.maximum(reference / reference.sum(), EPSILON)
        for window in windows:
            p = np.maximum(window / max(window.sum(), 1), EPSILON)
            flags.append(float(((p - q) * np.log(p / q)).sum()) > 0.1)
    return float(np.mean(flags))


def ks_rule(case: DriftCase) -> float:
    """SciPy's two-sample Kolmogorov-Smirnov test on the values themselves, p below 0.05."""
    flags = []
    for feature in range(case.reference.shape[1]):
        reference = _present(case.reference[:, feature])
        for window in case.windows:
            values = _present(window[:, feature])
            flags.append(len(values) > 0 and stats.ks_2samp(reference, values, method="asymp").pvalue < 0.05)
    return float(np.mean(flags))


def other(name: str) -> Judge:
    """A package with its defaults, asked in its own environment."""
    python = _environment(name)

    def judge(case: DriftCase) -> float:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "windows.npz"
            np.savez(file, reference=case.reference, windows=case.windows)
            script = Path(__file__).with_name("drift_others.py")
            command = [str(python), "-W", "ignore", str(script), name, str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        return float(done.stdout.split()[-1])

    return judge


def false_tickets(window: str, random: np.random.Generator) -> tuple[int, int, float]:
    """Tickets in MONTHS months without drift, with the steps and the hold of the rules: tickets, windows judged, and
    the largest ratio seen. Twenty features, ROWS_PER_HOUR rows per hour.
    """
    windows = Windows(parse(window))
    per_step, steps = ROWS_PER_HOUR * windows.step_s / 3_600, windows.window_s // windows.step_s
    hold, tickets, judged, largest = windows.hold_s // windows.step_s, 0, 0, 0.0
    n_steps = 30 * 86_400 // windows.step_s
    q = np.full(N_BINS, N_REFERENCE / N_BINS)
    for _ in range(MONTHS * N_FEATURES):
        arrived = random.multinomial(random.poisson(per_step, n_steps + steps), [1 / N_BINS] * N_BINS)
        total = np.concatenate([np.zeros((1, N_BINS)), np.cumsum(arrived, axis=0)])
        ratios = _ratios(q, total[steps:] - total[:-steps])
        lasted = np.convolve(ratios > 1, np.ones(hold + 1), "valid") > hold
        tickets += int(np.diff(lasted.astype(int), prepend=0).clip(0).sum())
        judged += len(ratios)
        largest = max(largest, float(ratios.max()))
    return tickets, judged, largest


def _ratios(q: Floats, windows: Floats) -> Floats:
    """The larger ratio of statistic to limit of many windows, as `numeric_findings` has it for one."""
    n, m = windows.sum(axis=1), q.sum()
    shares = windows / n[:, np.newaxis]
    ks = np.abs(np.cumsum(shares, axis=1) - np.cumsum(q) / m).max(axis=1)
    p, r = (windows + 0.5) / (n + N_BINS / 2)[:, np.newaxis], (q + 0.5) / (m + N_BINS / 2)
    psi = ((p - r) * np.log(p / r)).sum(axis=1)
    sizes, which = np.unique(n, return_inverse=True)
    ks_least = np.array([max(drift_limits.ks_limit(k, m, N_BINS), drift_limits.STRICT.ks) for k in sizes])[which]
    effect = [drift_limits.psi_noise(k, m, N_BINS) + drift_limits.STRICT.psi for k in sizes]
    psi_least = np.maximum(effect, [drift_limits.psi_limit(k, m, N_BINS) for k in sizes])[which]
    larger: Floats = np.maximum(ks / ks_least, psi / psi_least)
    return larger


def _binned(case: DriftCase, feature: int) -> tuple[Floats, Floats, Floats]:
    values = case.reference[:, feature]
    bounds = np.array(deciles(_present(values)))
    return bounds, _counts(bounds, values), np.array([_counts(bounds, window[:, feature]) for window in case.windows])


def _counts(bounds: Floats, values: Floats) -> Floats:
    bins = bounds.searchsorted(_present(values))
    counts: Floats = np.bincount(bins, minlength=len(bounds) + 1).astype(np.float64)
    return counts


def _floors(bounds: Floats, reference: Floats, case: DriftCase, feature: int) -> Mapping[str, float]:
    if case.past is None:
        return {}
    past = [_counts(bounds, window[:, feature]) for window in case.past]
    known = [window for window in past if window.sum()]
    return {
        name: drift.drift_floor([statistic(reference, window) for window in known])
        for name, statistic in (("ks", drift.ks_distance), ("psi", drift.psi))
    }


def _present(values: Floats) -> Floats:
    present: Floats = values[np.isfinite(values)]
    return present


def _environment(name: str) -> Path:
    cache = Path(os.environ.get("DRIFT_CACHE") or Path.home() / ".cache" / "sightline-drift") / name
    python = cache / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(cache)], check=True)  # noqa: S603, S607
    install = ["uv", "pip", "install", "--quiet", "--python", str(python), *OTHERS[name]]
    subprocess.run(install, check=True)  # noqa: S603
    return python


def _judges(rows: str) -> dict[str, Judge]:
    ours: dict[str, Judge] = {"shipped": shipped}
    if rows == "flights":
        ours["shipped, with floor"] = lambda case: shipped(case, has_floors=True)
    else:
        ours["shipped, sensitive"] = lambda case: shipped(case, drift_limits.SENSITIVE)
    return {
        **ours,
        "PSI > 0.1": psi_rule,
        "KS p < 0.05": ks_rule,
        "Evidently": other("evidently"),
        "NannyML": other("nannyml"),
    }


def _table(rows: str, cases: list[DriftCase]) -> Iterator[str]:
    judges = _judges(rows)
    yield f"| change | rows per window | windows x features | {' | '.join(judges)} |"
    yield "|---|---:|---:|" + "---:|" * len(judges)
    for case in sorted(cases, key=lambda each: [each.change for each in cases].index(each.change)):
        cells = [f"{judge(case):.1%}" for judge in judges.values()]
        n_windows, _, n_features = case.windows.shape
        print(rows, case.change, case.size, dict(zip(judges, cells, strict=True)), flush=True)
        yield f"| {case.change} | {case.size:,} | {n_windows} x {n_features} | {' | '.join(cells)} |"


def _months(random: np.random.Generator) -> Iterator[str]:
    yield f"| window | rows in it | tickets in {MONTHS} months | windows judged | largest statistic / limit |"
    yield "|---|---:|---:|---:|---:|"
    for window in ("24h", "6h", "1h"):
        tickets, judged, largest = false_tickets(window, random)
        rows = ROWS_PER_HOUR * parse(window) // 3_600
        print(window, tickets, judged, largest, flush=True)
        yield f"| {text(parse(window))} | {rows:,} | {tickets} | {judged:,} | {largest:.2f} |"


def page() -> str:
    """docs/drift.md, with every figure measured here."""
    random = np.random.default_rng(SEED)
    parts = {
        "MONTHS": _months(random),
        "INDEPENDENT": _table("independent", list(independent(random))),
        "FLIGHTS": _table("flights", list(flights())),
    }
    words = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    for name, lines in parts.items():
        words = words.replace(f"<!-- {name} -->", "\n".join(lines))
    return words


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
