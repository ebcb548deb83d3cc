"""Errors in the shape that the protocols of other model servers share."""

import json

import pytest

from sightline_service.errors import (
    BodyTooLargeError,
    InvalidRowsError,
    PredictionFailedError,
    QueueFullError,
    SightlineError,
)
from sightline_service.routes.served_model import ERRORS, refusal


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (InvalidRowsError("row 3"), 400, ()),
        (BodyTooLargeError("17 MB"), 413, ()),
        (PredictionFailedError("the model failed"), 500, ()),
        (QueueFullError("try again"), 503, ((b"retry-after", b"1"),)),
    ],
)
def test_a_refusal_says_what_and_when(
    error: SightlineError, status: int, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    """The body has the sentence and nothing else, and the status is a documented one."""
    reply = refusal(error)
    assert (json.loads(reply.body), reply.status, reply.headers) == ({"error": error.detail}, status, headers)
    assert reply.status in ERRORS
