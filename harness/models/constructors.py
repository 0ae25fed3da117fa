"""Libraries whose models have constructors in place of config classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from harness.contract import BASE, Arrays, PipelineCase


class ConstructorLibrary(ABC):
    """The part of `harness.models.libraries.Library` that such libraries share.

    A config is a namespace: `model_type`, the name of the model's class, and its arguments.
    """

    @abstractmethod
    def class_of(self, architecture: str) -> Any:
        """The model's class; raises `Absent`."""

    def module(self, architecture: str, config: Any, head: str = BASE) -> Any:
        """The model with the library's own initial weights."""
        fields = {name: value for name, value in vars(config).items() if name != "model_type"}
        return self.class_of(architecture)(**fields)

    def pipeline(
        self, architecture: str, head: str, inputs: Arrays, seed: int
    ) -> PipelineCase | None:
        """None: the library has no pipelines."""
        return None

    def placeholders(self, module: Any, config: Any) -> tuple[int, ...]:
        """None: its models read no tokens."""
        return ()
