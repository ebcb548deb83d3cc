"""PromQL over the labels that came back.

Every replica shows the totals of its ledger, so the largest of a ledger is taken before ledgers are added up. A label
that was corrected is counted once more as withdrawn, and taken off here.
"""

from grafana.promql import VERSION, series
from sightline_telemetry.instruments import (
    FEEDBACK,
    FEEDBACK_ERROR,
    FEEDBACK_LOSS,
    FEEDBACK_SCORE,
    FEEDBACK_WITHDRAWN,
    FEEDBACK_WITHDRAWN_ERROR,
    FEEDBACK_WITHDRAWN_LOSS,
    FEEDBACK_WITHDRAWN_SCORE,
    Instrument,
)

WINDOW = "$labels_of"
_WITHDRAWN = {
    FEEDBACK: FEEDBACK_WITHDRAWN,
    FEEDBACK_SCORE: FEEDBACK_WITHDRAWN_SCORE,
    FEEDBACK_LOSS: FEEDBACK_WITHDRAWN_LOSS,
    FEEDBACK_ERROR: FEEDBACK_WITHDRAWN_ERROR,
}


def labelled(instrument: Instrument, by: tuple[str, ...], *matchers: str, suffix: str = "") -> str:
    """What labels of the chosen window added to an instrument, by the model's version and by some of its labels."""
    grown = _grown(instrument, matchers, suffix)
    if instrument in _WITHDRAWN:
        withdrawn = f"-{_grown(_WITHDRAWN[instrument], matchers, suffix)}"
        # Under a label of its own it is added up with the rest; a difference would lose what was never withdrawn.
        grown = f'{grown} or label_replace({withdrawn}, "withdrawn", "yes", "", "")'
    return f"sum by ({_listed(by)}) ({grown})"


def correct(by: tuple[str, ...] = ()) -> str:
    """Labels that say what the model had said: those whose two words are the same."""
    pairs = labelled(FEEDBACK, ("predicted", "actual"))
    return f"sum by ({_listed(by)}) ({_equal(pairs, 'predicted', series(FEEDBACK))})"


def came_true(by: tuple[str, ...], *matchers: str, suffix: str) -> str:
    """Labelled scores of an outcome that was true; by: labels beside the outcome."""
    scores = labelled(FEEDBACK_SCORE, ("outcome", "actual", *by), *matchers, suffix=suffix)
    known = series(FEEDBACK_SCORE, suffix="_count")
    return f"sum by ({_listed(('outcome', *by))}) ({_equal(scores, 'outcome', known)})"


def scored(by: tuple[str, ...], *matchers: str, suffix: str) -> str:
    """Labelled scores of an outcome, whatever was true; by: labels beside the outcome."""
    return labelled(FEEDBACK_SCORE, ("outcome", *by), *matchers, suffix=suffix)


def _equal(vector: str, label: str, known: str) -> str:
    """Of a vector the series whose `actual` is the value of another label.

    known: series that have every value of that label. PromQL compares labels only between two vectors, so the right
    one says in `actual` what the other label says.
    """
    right = f'label_replace(group by ({_listed((label,))}) ({known}), "actual", "$1", "{label}", "(.*)")'
    return f"{vector} and on ({_listed((label, 'actual'))}) {right}"


def _grown(instrument: Instrument, matchers: tuple[str, ...], suffix: str) -> str:
    own = [name.replace(".", "_") for name in instrument.attributes]
    if suffix == "_bucket":
        own.append("le")
    return f"max by ({', '.join(own)}) (increase({series(instrument, *matchers, suffix=suffix)}[{WINDOW}]))"


def _listed(by: tuple[str, ...]) -> str:
    return ", ".join((*VERSION, *by))
