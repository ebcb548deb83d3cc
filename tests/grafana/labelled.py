"""Traffic that leaves no panel empty: predictions, the labels that follow, and failures."""

from random import Random
from threading import Event

import httpx2 as httpx

from sightline_service.demo.stream import FlightStream


def send_labelled(url: str, is_over: Event) -> None:
    """Sends eight flights five times per second, a label for each, and a request to the dummy model, until it is over.

    One label in four says otherwise than the model; three in ten requests to the dummy model fail.
    """
    stream, random = FlightStream(), Random(1)
    with httpx.Client(base_url=url, timeout=30) as client:
        while not is_over.wait(0.2):
            answer = client.post("/predict/model", json={"instances": stream.take(8)}).raise_for_status().json()
            labels = [
                {
                    "prediction_id": prediction["prediction_id"],
                    "actual": random.choice(("late", prediction["outcome"], prediction["outcome"], "in_time")),
                }
                for prediction in answer["predictions"]
            ]
            client.post("/feedback", json={"labels": labels}).raise_for_status()
            client.get("/predict/random", params={"error_rate": 0.3})
