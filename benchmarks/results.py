"""What was measured, one JSON file a part, written as it comes: a run that is interrupted loses nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """One part of the page, and when it was measured."""

    measured: datetime
    value: T


class Results:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, part: str, value: Any) -> None:
        """Keeps a part's result, in place of an older one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(part).write_bytes(msgspec.json.encode(Result(datetime.now(UTC), value)))

    def load(self, part: str, kind: type[T]) -> Result[T] | None:
        """A part's result; None if it was not measured, or by code that measured something else."""
        try:
            return msgspec.json.decode(self._file(part).read_bytes(), type=Result[kind])  # type: ignore[valid-type]
        except (FileNotFoundError, msgspec.ValidationError):
            return None

    def _file(self, part: str) -> Path:
        return self._folder / f"{part}.json"
