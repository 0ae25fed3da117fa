"""Makes the inputs of one model, media before the text that holds their placeholders."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.inputs.config_reader import FIELDS
from harness.inputs.media_reader import MediaReader
from harness.inputs.wanted import TEXT, wanted_arguments

AUDIO_COMPANIONS = {"feature_attention_mask", "input_features_mask", "padding_mask"}
MEDIA_COMPANIONS = {
    "sample",
    "image_position_ids",
    "image_sizes",
    "image_grid_thw",
    "feature_attention_mask",
    "input_features_mask",
    "pixel_attention_mask",
    "spatial_shapes",
    "image_merge_sizes",
    "padding_mask",
    "target_sizes",
}
PLACEHOLDERS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "image": (
        "get_image_features",
        ("pixel_values", "image_pixel_values"),
        ("image_token_id", "image_token_index", "image_token", "boi_token_index"),
    ),
    "video": (
        "get_video_features",
        ("pixel_values_videos", "pixel_values"),
        ("video_token_id", "video_token_index"),
    ),
    "audio": (
        "get_audio_features",
        ("input_features", "input_values"),
        ("audio_token_id", "audio_token_index"),
    ),
}


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
        for name in wanted_arguments(self.module, self.parameters, self.recipe):
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
            return self.floats(name, *self.recipe.shapes[name])
        if name in self.recipe.ids:
            return self.tokens(name, *self.recipe.ids[name])
        function = self.functions.get(name)
        if function is None:
            raise LookupError(
                f"{type(self.module).__name__}.forward requires {name!r}, which has no function in "
                f"ARGUMENTS of harness/inputs/; add one, or a row for "
                f"{getattr(self.config, 'model_type', '?')!r} in harness/inputs/recipe.toml"
            )
        return function(self)

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
        for kind, (getter, arguments, ids) in PLACEHOLDERS.items():
            media = [a for a in arguments if a in self.made and a not in counted]
            if not media:
                continue
            token = next((t for t in (self.find(i) for i in ids) if isinstance(t, int)), None)
            if token is None:
                continue
            counted.update(media)
            count = self.recipe.options.get(f"{kind}_tokens") or self.feature_rows(getter)
            if count:
                found[token] = found.get(token, 0) + int(count)
        return found

    def getter(self, name: str) -> Any:
        """A feature extractor; the inner model's own spells out arguments that heads swallow."""
        for module in (getattr(self.module, "model", None), self.module):
            function = getattr(module, name, None)
            if function is not None:
                return function
        return None

    def extractor_requires(self, argument: str) -> bool:
        """Whether features can't be had without this argument."""
        getters = [self.getter(name) for name, _, _ in PLACEHOLDERS.values()]
        return any(
            _is_required(p)
            for g in getters
            if g is not None
            for name, p in inspect.signature(g).parameters.items()
            if name == argument
        )

    def feature_rows(self, getter: str) -> int:
        """How many rows of features the model makes of one example's media."""
        import torch

        function = self.getter(getter)
        if function is None:
            return int(self.find(*FIELDS["feature_rows"], default=0) or 0)
        accepted = inspect.signature(function).parameters
        swallow = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        audio = getter == PLACEHOLDERS["audio"][0]
        given = {
            k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v
            for k, v in self.made.items()
            if k in accepted
            or (swallow and k in MEDIA_COMPANIONS and (k in AUDIO_COMPANIONS) is audio)
        }
        for name, parameter in accepted.items():
            if name not in given and _is_required(parameter):
                if name in TEXT:
                    raise LookupError(
                        f"{getter} wants the text whose placeholders it is asked to count; say how "
                        f"many with options.image_tokens or audio_tokens, in a row for "
                        f"{getattr(self.config, 'model_type', '?')!r} in harness/inputs/recipe.toml"
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
        total = sum(_rows(t) for t in _feature_tensors(features))
        return max(1, total // self.batch)


Function = Callable[[InputMaker], "Array | None"]


def _feature_tensors(features: Any) -> list[Any]:
    """The tensors of features in what an extractor returned: a tensor, an output, or lists."""
    import torch

    if isinstance(features, torch.Tensor):
        return [features]
    for name in ("pooler_output", "last_hidden_state"):
        found = getattr(features, name, None)
        if found is not None:
            return _feature_tensors(found)
    if not isinstance(features, list | tuple) or not features:
        return []
    first = features[0]
    if len(features) == 2 and isinstance(features[1], list):
        return _feature_tensors(first)  # features, and how many each image has
    if isinstance(first, list | tuple) or (isinstance(first, torch.Tensor) and first.ndim >= 2):
        return [t for f in features for t in _feature_tensors(f) if t.is_floating_point()]
    return [t for t in features if isinstance(t, torch.Tensor) and t.is_floating_point()][:1]


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def _rows(tensor: Any) -> int:
    return int(math.prod(tensor.shape[:-1]))


def _array(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array
