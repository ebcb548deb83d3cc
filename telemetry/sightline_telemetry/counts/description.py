"""What a service counts: its models with their profiles, its routes, and the series that exist from the start."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

from sightline_telemetry.events.layout import RowLayout
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.profile import CategoricalFeature, ReferenceProfile
from sightline_telemetry.model.profile_file import profile_from_dict
from sightline_telemetry.requests.request_kind import RequestKind


class CategoryCodes(dict[Any, int]):
    """The codes of a feature's values; a value that is not known is unseen."""

    def __init__(self, feature: CategoricalFeature) -> None:
        super().__init__(feature.vocabulary())
        self._unseen = self[None] - 1

    def __missing__(self, value: Any) -> int:
        return self._unseen


@dataclass(frozen=True)
class DescribedModel:
    """A model whose predictions are counted: its profile, and the steps of which a trace shows the times."""

    id: ModelId
    profile: ReferenceProfile
    steps: tuple[str, ...] = ()

    @cached_property
    def row_layout(self) -> RowLayout:
        """Returns how its predicted rows stand in an event."""
        profile = self.profile
        return RowLayout(
            len(profile.numeric),
            len(profile.categorical),
            len(profile.outcomes) if profile.scores else 0,
            has_outcomes=profile.task != "regression",
        )

    @cached_property
    def codes(self) -> tuple[CategoryCodes, ...]:
        """Returns the codes of each categorical feature."""
        return tuple(map(CategoryCodes, self.profile.categorical))


@dataclass(frozen=True)
class Description:
    """All that an observer must know of a service to read and to count its events.

    An event names a model and a route by its position here. expected: the kinds of requests with a series, from 0
    on; all others share one. Without any, each kind that occurs gets a series.
    fault_places: where faults of the telemetry end. probes: routes of health checks and scrapes, whose traces are not
    kept as examples. clients: names of clients with series of their own; without any, no series names a client.
    """

    models: tuple[DescribedModel, ...]
    routes: tuple[str, ...] = ()
    expected: tuple[RequestKind, ...] = ()
    fault_places: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()

    def route(self, number: int) -> str:
        """Returns the route with a number; nothing for one that no route has: words in shared memory may be garbage."""
        return self.routes[number] if number < len(self.routes) else ""

    def to_bytes(self) -> bytes:
        """Writes it as JSON."""
        models = [
            {"name": m.id.name, "version": m.id.version, "profile": asdict(m.profile), "steps": m.steps}
            for m in self.models
        ]
        content: Mapping[str, Any] = {
            "models": models,
            "routes": self.routes,
            "expected": self.expected,
            "fault_places": self.fault_places,
            "probes": self.probes,
            "clients": self.clients,
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads what `to_bytes` wrote."""
        content = json.loads(data)
        models = (
            DescribedModel(ModelId(m["name"], m["version"]), profile_from_dict(m["profile"]), tuple(m["steps"]))
            for m in content["models"]
        )
        return cls(
            tuple(models),
            tuple(content["routes"]),
            tuple(RequestKind(*kind) for kind in content["expected"]),
            tuple(content["fault_places"]),
            tuple(content["probes"]),
            tuple(content["clients"]),
        )

    @cached_property
    def digest(self) -> bytes:
        """Returns the 16 bytes that counts of this description carry."""
        return blake2b(self.to_bytes(), digest_size=16).digest()
