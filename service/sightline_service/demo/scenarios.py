"""The scenarios that can be simulated: flights as in training, and one fault each."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line imports this module for its options
    import numpy as np
    import pandas as pd

DRIFTED = "temp"
LOST = "wind_speed"
LOST_SHARE = 0.5


class Scenario(StrEnum):
    """The traffic that is sent. Each scenario but the first is one fault that one alert should find."""

    NORMAL = "normal"
    """Flights of the training months, drawn with replacement: no alert should fire."""
    DRIFT = "drift"
    """Warm days only: `temp` is drawn from the warmer half of the training data."""
    MISSING = "missing"
    """A sensor is down half of the time: `wind_speed` is null."""
    SLOW = "slow"
    """One request in five waits for 1.5 s on average."""
    ERRORS = "errors"
    """One request in five goes to the dummy model, where every second one fails."""


DUMMY_SHARE = 0.2
DUMMIES = {Scenario.SLOW: {"time_delay_scale": 1.5}, Scenario.ERRORS: {"error_rate": 0.5}}
"""Parameters of the requests to `/predict/random`, which are DUMMY_SHARE of all requests of the scenario."""


def draw_flights(training: "pd.DataFrame", scenario: Scenario, generator: "np.random.Generator") -> "pd.DataFrame":
    """Returns as many flights as training has, drawn with replacement and changed as the scenario says."""
    drawn = training.iloc[generator.integers(len(training), size=len(training))].reset_index(drop=True)
    if scenario is Scenario.DRIFT:
        present = training[DRIFTED].dropna()
        drawn[DRIFTED] = generator.choice(present[present > present.median()].to_numpy(), len(drawn))
    elif scenario is Scenario.MISSING:
        drawn.loc[generator.random(len(drawn)) < LOST_SHARE, LOST] = float("nan")
    return drawn
