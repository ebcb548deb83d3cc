"""Identifies a model by its name and version, and gives its instruments their attributes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelId:
    """Holds the name and the version under which a model is measured."""

    name: str
    version: str

    @property
    def attributes(self) -> dict[str, str]:
        """Returns the attributes that every `ml.*` instrument of the model has."""
        return {"model.name": self.name, "model.version": self.version}
