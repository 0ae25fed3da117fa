"""Makes the inputs of one model, media before the text that holds their placeholders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.inputs.config_reader import FIELDS
from harness.inputs.media_reader import MediaReader
from harness.inputs.placeholders import feature_rows, media
from harness.inputs.wanted import TEXT, wanted_arguments


@dataclass(eq=False)
class InputMaker(MediaReader):
    """Makes one model's inputs; its attributes are what the argument functions ask for.

    Attributes:
        functions: one for each argument that can be made, by its name.
        made: the arguments so far, by name.
    """

    functions: Mapping[str, Function]
    made: Arrays = field(default_factory=dict)

    def make(self) -> Arrays:
        """Every wanted argument, in the order of the signature."""
        wanted = wanted_arguments(
            self.module,
            self.config,
            self.parameters,
            self.recipe,
            masked=self.masked,
            variant=self.variant,
        )
        for name in wanted:
            if name in self.made:
                continue
            value = self.value(name)
            if value is not None:
                self.made[name] = value
        order = {name: i for i, name in enumerate(self.parameters)}
        return dict(sorted(self.made.items(), key=lambda item: order.get(item[0], 999)))

    def value(self, name: str) -> Array | None:
        """The value of one argument; None where the argument does not apply after all."""
        if name in self.recipe.values:
            return _array(self.recipe.values[name])
        if name in self.recipe.shapes:
            return self.floats(name, *map(self._size, self.recipe.shapes[name]))
        if name in self.recipe.ids:
            return self.tokens(name, *self.recipe.ids[name])
        function = self.functions.get(name)
        if function is None:
            raise LookupError(
                f"{type(self.module).__name__}.forward requires {name!r}, which has no function in "
                f"ARGUMENTS of harness/inputs/; add one, or {self._a_row}"
            )
        return function(self)

    def _size(self, said: int | str) -> int:
        """A size that a recipe says: a number, a field of the config, or `N * field`.

        Raises:
            LookupError: it is none of them.
        """
        if isinstance(said, int):
            return said
        times, _, field = said.rpartition(" * ")
        try:
            return int(times or 1) * int(attrgetter(field)(self.config))
        except (AttributeError, TypeError, ValueError) as error:
            raise LookupError(
                f"expected a whole number, a field of {type(self.config).__name__}, or "
                f"`2 * field`, found {said!r} ({error}); mend the size in {self._a_row}"
            ) from error

    @property
    def _a_row(self) -> str:
        return (
            f"a row for {getattr(self.config, 'model_type', '?')!r} in harness/inputs/recipe.toml"
        )

    @cached_property
    def asks_image_sizes(self) -> bool:
        """Whether the true size of an image says something: for tiles, or to the encoder itself."""
        if self.find("image_grid_pinpoints") or self.extractor_requires("image_sizes"):
            return True
        if self.vision is self.config:
            return True
        towers = [m for m in self.module.modules() if getattr(m, "config", None) is not None]
        encoders = [m for m in towers if type(m.config) is type(self.vision)]
        return not encoders or any(
            "image_sizes" in inspect.signature(m.forward).parameters for m in encoders
        )

    @cached_property
    def placeholders(self) -> dict[int, int]:
        """How many placeholder tokens each row of text needs, by special id."""
        found: dict[int, int] = {}
        counted: set[str] = set()
        for kind, medium in media().items():
            held = [a for a in medium.arguments if a in self.made and a not in counted]
            token = next((t for t in map(self.find, medium.ids) if isinstance(t, int)), None)
            if not held or token is None:
                continue
            counted.update(held)
            known = self.recipe.options.get(f"{kind}_tokens")
            count = (
                self.fewer(medium.fewer, self._size(known)) if known else self.feature_rows(kind)
            )
            if count:
                found[token] = found.get(token, 0) + int(count)
        return found

    def _extractor(self, kind: str) -> Any:
        """A feature extractor; the inner model's own spells out arguments that heads swallow."""
        for module in (getattr(self.module, "model", None), self.module):
            function = getattr(module, media()[kind].extractor, None)
            if function is not None:
                return function
        return None

    def extractor_requires(self, argument: str) -> bool:
        """Whether features can't be had without this argument."""
        return any(
            _is_required(p)
            for extractor in map(self._extractor, media())
            if extractor is not None
            for name, p in inspect.signature(extractor).parameters.items()
            if name == argument
        )

    def feature_rows(self, kind: str) -> int:
        """How many vectors of features the model makes of one example's media of a kind."""
        import torch

        medium, function = media()[kind], self._extractor(kind)
        if function is None:
            return int(self.find(*FIELDS["feature_rows"], default=0) or 0)
        accepted = inspect.signature(function).parameters
        swallow = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        given = {
            k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v
            for k, v in self.made.items()
            if k in accepted or (swallow and k in medium.companions)
        }
        for name, parameter in accepted.items():
            if name not in given and _is_required(parameter):
                if name in TEXT:
                    raise LookupError(
                        f"{medium.extractor} wants the text whose placeholders it is asked to "
                        f"count; say how many with options.image_tokens or audio_tokens, in "
                        f"{self._a_row}"
                    )
                if name not in self.functions and self.find(name) is not None:
                    given[name] = self.find(name)  # an option, which callers read in the config
                    continue
                value = self.value(name)
                if value is not None:
                    given[name] = torch.from_numpy(value)
                    if name in self.parameters:
                        self.made[name] = value
        with torch.no_grad():
            features = function(**given)
        return max(1, feature_rows(features) // self.batch)


Function = Callable[[InputMaker], "Array | None"]


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def _array(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array
