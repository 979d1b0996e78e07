"""What suites and plans share: no unknown names, nothing that changes, fields that came later, and a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ..errors import InvalidFile
from ..yamlfile import find_shipped, read_yaml


class Strict(BaseModel):
    """A model that refuses names that it does not know.

    ``later``: fields that were added after runs had been made. What is stated of a model, and so the ids of rows and
    the suite in a run's folder, leaves them out where they have their defaults: older runs go on, and their rows keep
    their ids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _stated(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        plain = {
            name for name in self.later if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {name: value for name, value in handler(self).items() if name not in plain}


Model = TypeVar("Model", bound=Strict)


def load_strict(model: type[Model], path: Path, what: str, shipped: Path, images: Path | None = None) -> Model:
    """Read and check a YAML file: ``path``, or the one of that name in the folder ``shipped`` of the package.

    ``what`` it is called; ``images``: a folder, instead of that of its own entry ``images``. Errors:
    :class:`InvalidFile` that names the entry.
    """
    path = find_shipped(path, what, shipped)
    content = read_yaml(path, what)
    if images is not None and isinstance(content.get("images", {}), dict):
        content["images"] = {**content.get("images", {}), "folder": str(images)}
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or what
        raise InvalidFile(path, f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
