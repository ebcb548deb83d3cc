"""What observes the events of a process: a thread in it, or the observer process of the service."""

import asyncio
import json
import os
from dataclasses import replace
from threading import Lock
from typing import Any
from uuid import UUID

from opentelemetry.trace import TracerProvider

from sightline_service.errors import BundleReplacedError, ObserverDownError
from sightline_telemetry.counts.description import Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.events.copies import TornMemoryError
from sightline_telemetry.events.memory import Board
from sightline_telemetry.export.exporters import Exporters
from sightline_telemetry.export.guest import GuestProviders
from sightline_telemetry.faults import Faults
from sightline_telemetry.observer.answers import NoAnswerError, ask
from sightline_telemetry.observer.board_scrape import BoardScrape
from sightline_telemetry.observer.description import describe, read_described
from sightline_telemetry.observer.in_process import InProcessObserver
from sightline_telemetry.observer.inheritance import Inheritance
from sightline_telemetry.observer.log_handler import send_logs
from sightline_telemetry.observer.observer import ObserverOptions
from sightline_telemetry.observer.standstill import BEATS_EVERY_S
from sightline_telemetry.observer.worker_sink import GrantedByWorkers, WorkerSink
from sightline_telemetry.requests.allowance import Allowance
from sightline_telemetry.requests.recording import EventList


class InProcess:
    """A thread of this process folds its events, and so does every scrape."""

    def __init__(self) -> None:
        self.sink = EventList()
        self.process: InProcessObserver

    @property
    def tracers(self) -> TracerProvider | None:
        """The provider of spans that others make in this process; None before `start`."""
        return self.process.observer.providers.tracers

    def allowance(self, per_s: float) -> Allowance:
        """Returns the allowance for requested traces."""
        return Allowance(per_s)

    def describe(self, description: Description, options: ObserverOptions, faults: Faults) -> bool:
        """Builds the observer of what is described; returns whether traces can be kept."""
        self.process = InProcessObserver(self.sink, description, options, faults)
        return self.process.observer.providers.keeps_traces

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns the body of `/metrics` and its content type."""
        return await asyncio.to_thread(self.process.observer.providers.scrape.render, accept)

    async def read_trace(self, trace_id: int) -> dict[str, Any] | None:
        """Returns a kept trace as OTLP/JSON; None if it is not held."""
        await asyncio.to_thread(self.process.fold)
        ring = self.process.observer.ring
        return None if ring is None else ring.read(trace_id)

    def start(self) -> None:
        """Starts the observer's thread and exports."""
        self.process.start()

    def stop(self) -> None:
        """Sends the counts, and stops."""
        self.process.stop()


class OnBoard:
    """The observer process reads the events of this worker from shared memory."""

    def __init__(self, inheritance: Inheritance) -> None:
        if inheritance.worker is None or inheritance.observer_socket is None:
            raise ValueError("the supervisor has started no observer for this worker")
        self._board = Board.attach(inheritance.board)
        self._path = inheritance.observer_socket
        self._index = inheritance.worker
        self.sink = WorkerSink(self._board, self._index)
        send_logs(self.sink)
        self._is_head_sampled = False
        instance_id = UUID(bytes=self._board.instance_id)
        self._providers = GuestProviders({"service.instance.id": f"{instance_id}-w{self._index}"})
        self._table: SeriesTable
        self._board_scrape: BoardScrape | None = None
        self._lock = Lock()

    @property
    def tracers(self) -> TracerProvider | None:
        """The provider of spans that others make in this process; None before `start`."""
        return self._providers.tracers

    def allowance(self, per_s: float) -> Allowance:
        """Returns the allowance for requested traces, which all workers share."""
        return Allowance(per_s, granted=GrantedByWorkers(self._board, self._index))

    def describe(self, description: Description, options: ObserverOptions, faults: Faults) -> bool:  # noqa: ARG002
        """Leaves on the board what the workers serve; returns whether traces can be kept.

        Clients keep the series that they had when the service started: the file of keys may have others by now.
        """
        earlier = self._board.description()
        if earlier is not None:
            description = replace(description, clients=read_described(earlier)[0].clients)
        described = describe(description, options)
        self._board.describe(described)
        if self._board.description() != described:
            raise BundleReplacedError(
                "bundle or settings are not those that the other workers have: restart the service to serve them"
            )
        self._table = SeriesTable(description)
        self.sink.describe(self._table)
        self._is_head_sampled = options.is_head_sampled
        return options.has_ring or Exporters(os.environ).exports("TRACES")

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Returns the body of `/metrics` and its content type: from the observer, or without one from the board.

        Raises ObserverDownError if there is an observer that does not answer in time.
        """
        observer = self._board.observer
        if observer.is_serving:
            try:
                head, body = await self._ask({"what": "metrics", "accept": accept})
            except ObserverDownError:
                if observer.is_serving:
                    raise
            else:
                return body, head["content_type"]
        return await asyncio.to_thread(self._render, accept)

    async def read_trace(self, trace_id: int) -> dict[str, Any] | None:
        """Returns a kept trace that the observer holds. Raises ObserverDownError."""
        _, body = await self._ask({"what": "trace", "trace_id": f"{trace_id:032x}"})
        trace: dict[str, Any] | None = json.loads(body)
        return trace

    def start(self) -> None:
        """Starts the SDK for the spans of others, and says that this worker is ready."""
        self._providers.start(is_head_sampled=self._is_head_sampled)
        self._beat()
        self.sink.is_ready()

    def _beat(self) -> None:
        """Stores the time, now and again and again: an event loop that stands still stores none."""
        self.sink.beat()
        asyncio.get_running_loop().call_later(BEATS_EVERY_S, self._beat)

    def stop(self) -> None:
        """Sends what others have measured in this process."""
        self._providers.stop()

    def _render(self, accept: str) -> tuple[bytes, str]:
        with self._lock:  # made when it is first needed: most workers never need it
            if self._board_scrape is None:
                self._board_scrape = BoardScrape(self._board, self._table)
        try:
            return self._board_scrape.render(accept)
        except TornMemoryError as error:  # an observer has come in between
            raise ObserverDownError(f"{error}; try again in a second") from error

    async def _ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        try:
            return await ask(self._path, question)
        except NoAnswerError as error:
            raise ObserverDownError(f"{error}; try again in a second") from error
