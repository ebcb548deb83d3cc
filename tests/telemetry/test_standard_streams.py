"""A standard stream that is not read, or whose reader is gone, keeps no process from its work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE_S = 30
CHATTERING = """
import logging, sys
logging.basicConfig(level="INFO")
from sightline_telemetry.standard_streams import unblock_standard_streams
streams = unblock_standard_streams()
lost = []
streams.count_losses(lambda place, n: lost.append((place, n)))
for number in range(5000):
    print("x" * 100)
    logging.getLogger("chatty").info("y")
streams.drain(0.2)
with open(sys.argv[1], "w") as file:
    file.write(f"{sorted({place for place, _ in lost})} {sum(n for _, n in lost) > 1000}")
"""


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full and that nothing reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def chatter(path: Path, descriptor: int) -> str:
    """Has a process write ten thousand lines to a descriptor; returns what it says of those that were lost."""
    command = [sys.executable, "-c", CHATTERING, str(path)]
    assert (
        subprocess.run(command, stdout=descriptor, stderr=descriptor, timeout=PATIENCE_S, check=False).returncode == 0
    )
    return path.read_text()


def test_a_pipe_that_is_full_blocks_nothing(full_pipe: int, tmp_path: Path) -> None:
    """`print` and loggers go on, and what is dropped is counted."""
    assert chatter(tmp_path / "lost", full_pipe) == "['request_log'] True"


def test_a_reader_that_is_gone_fails_nothing(tmp_path: Path) -> None:
    """No BrokenPipeError is raised, and what is dropped is counted."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert chatter(tmp_path / "lost", writing) == "['request_log'] True"
    finally:
        os.close(writing)


def test_what_is_read_is_complete_and_in_order() -> None:
    """With a reader nothing is lost: all is written before the process ends."""
    code = (
        "from sightline_telemetry.standard_streams import unblock_standard_streams\n"
        "unblock_standard_streams()\n"
        "for number in range(500): print(number)\n"
        "raise SystemExit('told')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.stdout == "".join(f"{number}\n" for number in range(500))
    assert (ran.stderr, ran.returncode) == ("told\n", 1)


def test_a_closed_descriptor_is_given_to_no_file(tmp_path: Path) -> None:
    """What is opened next would otherwise get the number of stdout, and all messages."""
    code = (
        "import os, sys\nfrom sightline_telemetry.standard_streams import unblock_standard_streams\n"
        "unblock_standard_streams()\nfile = open(sys.argv[1], 'w')\nprint('a message')\n"
        "file.write(str(file.fileno() > 2))"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" "$2" >&- 2>&-', sys.executable, code, f"{tmp_path}/file"]
    subprocess.run(command, timeout=PATIENCE_S, check=True)
    assert (tmp_path / "file").read_text() == "True"
