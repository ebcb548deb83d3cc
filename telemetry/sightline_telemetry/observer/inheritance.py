"""What a child of the supervisor inherits: descriptors, named by number in its environment."""

import os
from typing import NamedTuple, Self

_VARIABLES = {
    "board": "SIGHTLINE_BOARD_FD",
    "lifeline": "SIGHTLINE_LIFELINE_FD",
    "listening": "SIGHTLINE_LISTEN_FD",
    "answers": "SIGHTLINE_OBSERVER_FD",
    "metrics": "SIGHTLINE_METRICS_FD",
}
_WORKER = "SIGHTLINE_WORKER"
_OBSERVER_SOCKET = "SIGHTLINE_OBSERVER_SOCKET"


class Inheritance(NamedTuple):
    """Descriptors and names that the supervisor hands to one child; None is what that child does not get.

    board: the shared memory. lifeline: a pipe into which nothing is written; at its end the child has to end.
    listening: the service's socket, and worker, its index, and observer_socket, where the observer answers: a worker's.
    answers: the listening Unix socket, and metrics, the listening socket of a port for scrapes: the observer's. It gets
    observer_socket too if the path is its own: then it removes it at its end, for its master may have been killed.
    """

    board: int
    lifeline: int
    listening: int | None = None
    answers: int | None = None
    metrics: int | None = None
    worker: int | None = None
    observer_socket: str | None = None

    def descriptors(self) -> list[int]:
        """Returns the descriptors that the child inherits."""
        return [value for name in _VARIABLES if (value := getattr(self, name)) is not None]

    def environment(self) -> dict[str, str]:
        """Returns the variables in which the child finds them."""
        numbers = {_VARIABLES[name]: getattr(self, name) for name in _VARIABLES} | {_WORKER: self.worker}
        variables = {name: str(number) for name, number in numbers.items() if number is not None}
        return variables | ({_OBSERVER_SOCKET: self.observer_socket} if self.observer_socket else {})

    @classmethod
    def take(cls) -> Self | None:
        """Takes it out of this process's environment; returns None if no supervisor has started this process.

        Children of this process inherit nothing of it: one that held the listening socket would keep the port.
        """
        if _VARIABLES["board"] not in os.environ:
            return None
        numbers = {name: os.environ.pop(variable, None) for name, variable in _VARIABLES.items()}
        inherited = {name: int(number) for name, number in numbers.items() if number is not None}
        for descriptor in inherited.values():
            os.set_inheritable(descriptor, False)
        worker = os.environ.pop(_WORKER, None)
        return cls(
            **inherited,
            worker=None if worker is None else int(worker),
            observer_socket=os.environ.pop(_OBSERVER_SOCKET, None),
        )
