"""The name and the version of a model, and the attributes that its instruments carry."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelId:
    """The name and the version under which a model is measured."""

    name: str
    version: str

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of every `ml.*` instrument."""
        return {"model.name": self.name, "model.version": self.version}
