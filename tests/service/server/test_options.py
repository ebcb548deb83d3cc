"""Every server of Sightline runs with the same options."""

from pathlib import Path

from sightline_service.server.options import server_options
from sightline_service.server.protocol import BypassProtocol

SERVICE = Path(__file__).parents[3] / "service" / "sightline_service"


def test_the_protocol_is_ours_and_requests_are_logged_once() -> None:
    """Requests are served by our protocol, each in a context of its own, and uvicorn writes no line about them."""
    options = server_options("127.0.0.1", 0)
    assert options["http"] is BypassProtocol
    assert (options["access_log"], options["reset_contextvars"]) == (False, True)


def test_no_server_has_options_of_its_own() -> None:
    """The command and the demo take these options from one function."""
    named = [path.name for path in SERVICE.rglob("*.py") if "BypassProtocol" in path.read_text()]
    assert sorted(named) == ["options.py", "protocol.py"]
