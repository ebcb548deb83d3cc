"""A PostgreSQL of the test's own: Debian's binaries, a fresh data folder, a free port of loopback."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

from tests.stack.polling import poll_until
from tests.stack.processes import free_port

READY_S = 30.0
_USER = "sightline"


def _program(name: str) -> Path:
    """A program of PostgreSQL; Debian and Ubuntu keep them off PATH."""
    found = shutil.which(name)
    candidates = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not candidates:
        raise FileNotFoundError(f"there is no `{name}`: install PostgreSQL, with `apt-get install -y postgresql`")
    return candidates[-1]


class PostgreSQL:
    """A running server. It refuses to run as root, so root runs it as the user that Debian's package made."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sightline-postgresql-"))
        self._log = self._folder / "log"
        self._as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self._running: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.url = f"postgresql+psycopg://{_USER}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> "PostgreSQL":
        """Makes the data folder and starts the server."""
        if self._as_user:
            shutil.chown(self._folder, "postgres", "postgres")
        command = [_program("initdb"), "-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder, **self._as_user)  # type: ignore[call-overload]
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        """Stops the server and removes its data."""
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = (f"port={self._port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        command = [_program("postgres"), "-D", self._data, *(part for each in settings for part in ("-c", each))]
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._as_user)  # type: ignore[call-overload]
        try:
            poll_until(self._is_ready, READY_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server at once, open connections and all; what was committed stays."""
        if self._running is not None:
            running, self._running = self._running, None
            running.send_signal(signal.SIGQUIT)
            running.wait(20)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _is_ready(self) -> bool:
        if self._running is not None and self._running.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended:\n{self._log.read_text()}")
        try:
            psycopg.connect(f"host=127.0.0.1 port={self._port} user={_USER} dbname=postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
