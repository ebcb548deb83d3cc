"""What may happen to a service: flights as training saw them, and what can go wrong with them."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

DRIFTED = "temp"
LOST = "wind_speed"
LOST_SHARE = 0.5


class Scenario(StrEnum):
    """What is sent. Each but the first is one fault that one alert should find."""

    NORMAL = "normal"
    """Training's months, drawn anew with replacement: nothing to find."""
    DRIFT = "drift"
    """Warm days only: `temp` comes from the warmer half of training's hours, whatever the flight."""
    MISSING = "missing"
    """A sensor is down half of the time: `wind_speed` is null."""
    SLOW = "slow"
    """One request in five waits, for a second and a half in the mean."""
    ERRORS = "errors"
    """One request in five goes where every second one fails."""


@dataclass(frozen=True, slots=True)
class Dummy:
    """Requests to `/predict/random`: their share of all, and what they ask for."""

    share: float
    time_delay_scale: float = 0.0
    error_rate: float = 0.0

    @property
    def query(self) -> dict[str, float]:
        """The parameters of the request."""
        return {"time_delay_scale": self.time_delay_scale, "error_rate": self.error_rate}


DUMMIES = {Scenario.SLOW: Dummy(0.2, time_delay_scale=1.5), Scenario.ERRORS: Dummy(0.2, error_rate=0.5)}


def draw_flights(training: pd.DataFrame, scenario: Scenario, generator: np.random.Generator) -> pd.DataFrame:
    """As many flights as training has, (n_rows, n_columns), drawn with replacement and bent as the scenario says."""
    drawn = training.iloc[generator.integers(len(training), size=len(training))].reset_index(drop=True)
    if scenario is Scenario.DRIFT:
        present = training[DRIFTED].dropna().to_numpy()
        drawn[DRIFTED] = generator.choice(present[present > np.median(present)], len(drawn))
    elif scenario is Scenario.MISSING:
        drawn.loc[generator.random(len(drawn)) < LOST_SHARE, LOST] = np.nan
    return drawn
