"""Counts what a model predicted: outcomes with their scores and confidence, or the values of a regression."""

import numpy as np

from sightline_telemetry.model.counts import BucketTable, Codes, Floats, Snapshot, Tallies
from sightline_telemetry.model.profile import SCORE_BOUNDS, ReferenceProfile


class OutputCounts:
    """Counts a model's predictions.

    Predictions of a classifier are counted by outcome and, if the model has probabilities, by score and confidence.
    Those of a regressor are counted in total, and their values in the bins that were frozen in the profile.
    """

    def __init__(self, profile: ReferenceProfile) -> None:
        self._profile = profile
        self._scored = [index for index, _ in profile.scored]
        self._outcomes = Tallies([len(profile.outcomes) or 1])
        # After the scores comes one histogram of the confidence.
        self._scores = BucketTable([SCORE_BOUNDS] * (len(self._scored) + 1))
        self._values = BucketTable([profile.predicted_values.bounds] if profile.predicted_values else [])

    def add_outcomes(self, outcomes: Codes, probabilities: Floats | None) -> None:
        """Counts (n_rows,) outcomes. probabilities: (n_rows, n_outcomes), or None if the model has none.

        The confidence is P(predicted outcome), not the largest P, because the model may use another threshold.
        """
        self._outcomes.add(outcomes[np.newaxis])
        if probabilities is not None and self._scored:
            scored = np.empty((len(self._scored) + 1, len(outcomes)))
            scored[:-1] = probabilities.T[self._scored]
            scored[-1] = probabilities[np.arange(len(outcomes)), outcomes]
            self._scores.add(scored)

    def add_values(self, values: Floats) -> None:
        """Counts (n_rows,) values of a regression."""
        self._outcomes.add(np.zeros((1, len(values)), dtype=np.intp))
        self._values.add(values[np.newaxis])

    def rows(self) -> int:
        """Returns how many rows were predicted."""
        return sum(self._outcomes.read()[0])

    def predictions(self) -> dict[str, int]:
        """Returns the rows per outcome; empty in regression."""
        return dict(zip(self._profile.outcomes, self._outcomes.read()[0], strict=False))

    def scores(self) -> dict[str, Snapshot]:
        """Returns the histogram of P(class) per outcome; empty without probabilities."""
        return dict(zip((outcome for _, outcome in self._profile.scored), self._scores.read(), strict=False))

    def confidence(self) -> Snapshot | None:
        """Returns the histogram of P(predicted class); None without probabilities."""
        return self._scores.read()[-1] if self._scored else None

    def values(self) -> Snapshot | None:
        """Returns the histogram of the predicted values; None in classification."""
        values = self._values.read()
        return values[0] if values else None
