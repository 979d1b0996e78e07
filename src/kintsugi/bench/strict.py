"""What the models of a suite share: no unknown names, nothing that changes, and fields that came later."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


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
