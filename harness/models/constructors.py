"""Libraries whose models have constructors in place of config classes."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from harness.contract import BASE, Arrays, PipelineCase
from harness.models import config_fields
from harness.models.slices import LayersWanted, Slice, sliced_fields, usual_layers


def arguments_of(cls: type) -> frozenset[str]:
    """The names of the arguments that the constructors of a class and its bases take."""
    made = (vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base))
    return frozenset(
        name
        for constructor in made
        if inspect.isfunction(constructor)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    )


class ConstructorLibrary(ABC):
    """The part of `harness.models.libraries.Library` that such libraries share.

    A config is a namespace: `model_type`, the name of the model's class, and its arguments.
    """

    has_heads: bool
    #: Matches the arguments that count layers.
    depths: re.Pattern[str]

    @abstractmethod
    def config(
        self, architecture: str, given: Mapping[str, Any], size: str, head: str = BASE
    ) -> Any:
        """The arguments of the model's constructor as attributes, and its name."""

    def sliced(
        self,
        architecture: str,
        given: Mapping[str, Any],
        head: str = BASE,
        wanted: LayersWanted = usual_layers,
    ) -> Slice:
        """The arguments of the model's constructor, those that count layers smaller."""
        defaults = inspect.signature(self.class_of(architecture).__init__).parameters.values()
        counts = {p.name: p.default for p in defaults if self.depths.fullmatch(p.name)}
        whole = vars(self.config(architecture, {**counts, **given}, "full", head))
        found = sliced_fields(whole, self.depths, wanted)
        found.config = SimpleNamespace(**found.config)
        return found

    @abstractmethod
    def class_of(self, architecture: str) -> Any:
        """The model's class; raises `Absent`."""

    def module(self, architecture: str, config: Any, head: str = BASE) -> Any:
        """The model with the library's own initial weights.

        Raises:
            HarnessError: a field is no argument of the model's constructor.
        """
        fields = {name: value for name, value in vars(config).items() if name != "model_type"}
        cls = self.class_of(architecture)
        try:
            return cls(**fields)
        except TypeError as error:
            known = arguments_of(cls)
            for name in fields:
                if name not in known:
                    raise config_fields.unknown_field(cls.__name__, name, name, known) from error
            raise

    def pipeline(
        self, architecture: str, head: str, inputs: Arrays, seed: int
    ) -> PipelineCase | None:
        """None: the library has no pipelines."""
        return None

    def placeholders(self, module: Any, config: Any) -> tuple[int, ...]:
        """None: its models read no tokens."""
        return ()
