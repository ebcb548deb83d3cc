"""An observer that is asked by a thread, and does not answer as it should."""

import socket
from pathlib import Path
from threading import Thread

import pytest

from sightline_telemetry.observer.answers import NoAnswerError, ask_blocking

QUESTION = {"what": "metrics", "accept": ""}


@pytest.mark.parametrize("answer", [b"", b'{"length": 9}\nhalf', b"no JSON\n", b"{}\n"])
def test_half_an_answer_is_none(answer: bytes, tmp_path: Path) -> None:
    """An observer that dies at any place of its answer has not answered."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        with pytest.raises(NoAnswerError):
            ask_blocking(path, QUESTION, timeout_s=30)
        thread.join()


def test_an_observer_that_is_away_does_not_answer(tmp_path: Path) -> None:
    """A socket that accepts no connection, or is not there, is an observer that is away."""
    path = str(tmp_path / "socket")
    with pytest.raises(ConnectionError, match="FileNotFoundError"):
        ask_blocking(path, QUESTION)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(ConnectionError, match="TimeoutError"):
            ask_blocking(path, QUESTION, timeout_s=0.05)
