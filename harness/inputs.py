"""Example inputs for a model, from the signature of its `forward` and its config.

Each forward argument has one function here that makes its value; which arguments a model gets
follows from its signature. What the signature can't tell (a tile count, a prompt) is data:
`harness/tiny/inputs.toml`.
"""

from __future__ import annotations

import inspect
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.weights import integers, uniform

RECIPES = Path(__file__).parent / "tiny" / "inputs.toml"

#: Sub-configs by what they encode, in the order in which a composite is asked for them.
VISION = (
    "vision_config",
    "visual_config",
    "image_config",
    "vit_config",
    "vision_encoder_config",
    "image_model_config",
    "backbone_config",
    "vision_encoder",
)
AUDIO = (
    "audio_config",
    "audio_encoder_config",
    "speech_config",
    "sound_config",
    "encoder_config",
    "audio_encoder",
    "acoustic_tokenizer_encoder_config",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one architecture's inputs need beyond its signature; the rows of `inputs.toml`."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # shapes of random token ids
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of forward, that are no arrays
    seeded: bool = False  # forward draws random numbers, the same ones under one seed
    plain_attention: str = "eager"  # what the reference computes attention with
    reference: str = "float64"  # the widest dtype that the reference is computed in
    length: int | None = None
    batch: int | None = None
    reason: str = ""


@cache
def recipes() -> Mapping[str, Recipe]:
    """The tables of `inputs.toml`, by model type."""
    tables = tomllib.loads(RECIPES.read_text())
    return {
        name: Recipe(
            add=tuple(t.get("add", ())),
            drop=tuple(t.get("drop", ())),
            shapes={k: tuple(v) for k, v in t.get("shapes", {}).items()},
            values=t.get("values", {}),
            ids={k: tuple(v) for k, v in t.get("ids", {}).items()},
            options=t.get("options", {}),
            arguments=t.get("arguments", {}),
            seeded=t.get("seeded", False),
            plain_attention=t.get("plain_attention", "eager"),
            reference=t.get("reference", "float64"),
            length=t.get("length"),
            batch=t.get("batch"),
            reason=t.get("reason", ""),
        )
        for name, t in tables.items()
    }


def recipe_of(config: Any) -> Recipe:
    """The recipe for a config's model type, or an empty one."""
    return recipes().get(getattr(config, "model_type", ""), Recipe())


def example_inputs(
    module: Any, config: Any, *, seed: int, variant: str = "base", batch: int = 2, length: int = 16
) -> Arrays:
    """Inputs for `module.forward`, by argument name.

    Args:
        module: a torch module; only its `forward` signature, its main input's name and its
            feature extractors (`get_image_features`, ...) are asked.
        config: the module's config.
        seed: of the values.
        variant: another name gives other values of the same shapes.
        batch: rows.
        length: tokens of a text input.

    Raises:
        LookupError: a required argument that nothing here knows how to make.
    """
    recipe = recipe_of(config)
    maker = Maker(
        module, config, seed, variant, recipe.batch or batch, recipe.length or length, recipe
    )
    return maker.make()


class Maker:
    """Makes one model's inputs; attributes are what the argument functions ask for."""

    def __init__(
        self,
        module: Any,
        config: Any,
        seed: int,
        variant: str,
        batch: int,
        length: int,
        recipe: Recipe,
    ) -> None:
        self.module = module
        self.config = config
        self.seed = seed
        self.variant = variant
        self.batch = batch
        self.length = length
        self.recipe = recipe
        self.parameters = {
            p.name: p
            for p in inspect.signature(module.forward).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        self.made: Arrays = {}

    def make(self) -> Arrays:
        """Every wanted argument, in the order of the signature."""
        for name in self.wanted():
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
        function = ARGUMENTS.get(name)
        if function is None:
            raise LookupError(
                f"{type(self.module).__name__}.forward requires {name!r}, which has no function in "
                f"ARGUMENTS of harness/inputs.py; add one, or a row for "
                f"{getattr(self.config, 'model_type', '?')!r} in harness/tiny/inputs.toml"
            )
        return function(self)

    def wanted(self) -> list[str]:
        """The arguments to make, media before the text that holds their placeholders."""
        names = [
            n
            for n, p in self.parameters.items()
            if p.default is inspect.Parameter.empty and n not in self.recipe.drop
        ]
        main = getattr(self.module, "main_input_name", None)
        mains = [main] if isinstance(main, str) else list(main or ())
        names += [name for name in mains if name in self.parameters]
        names += [n for n in USUAL if n in self.parameters]
        if (
            "input_ids" not in names
            and "inputs_embeds" in self.parameters
            and not set(names) & MAIN
        ):
            names.append("inputs_embeds")
        names += self.recipe.add
        unique = [n for n in dict.fromkeys(names) if n not in self.recipe.drop]
        return sorted(unique, key=lambda n: (n in TEXT, n in COMPANIONS))

    # -- asking the config -------------------------------------------------------------------

    def configs(self) -> Iterator[Any]:
        """The config and its sub-configs, breadth first."""
        queue = [self.config]
        while queue:
            config = queue.pop(0)
            yield config
            queue += [
                v
                for v in vars(config).values()
                if hasattr(v, "model_type") and hasattr(v, "to_dict")
            ]

    def find(self, *names: str, default: Any = None, within: Any = None) -> Any:
        """The first of these fields that any config has, the outermost config first."""
        for config in [within] if within is not None else self.configs():
            for name in names:
                value = vars(config).get(name)
                if value is None:
                    value = getattr(type(config), "attribute_map", {}).get(name) and getattr(
                        config, name, None
                    )
                if value is not None:
                    return value
        return default

    def sub(self, names: tuple[str, ...]) -> Any:
        """The first sub-config of these names, else the config itself."""
        for name in names:
            value = getattr(self.config, name, None)
            if value is not None and hasattr(value, "to_dict"):
                return value
        for config in self.configs():
            for name in names:
                value = vars(config).get(name)
                if value is not None and hasattr(value, "to_dict"):
                    return value
        return self.config

    @cached_property
    def text(self) -> Any:
        """The config that counts the vocabulary of `input_ids`."""
        get = getattr(self.config, "get_text_config", None)
        try:
            found = get() if get else None
        except Exception:
            found = None
        return found if found is not None else self.config

    @cached_property
    def vision(self) -> Any:
        """The config of what reads images."""
        return self.sub(VISION)

    @cached_property
    def audio(self) -> Any:
        """The config of what reads sound."""
        return self.sub(AUDIO)

    # -- values ------------------------------------------------------------------------------

    def floats(self, name: str, *shape: int) -> Array:
        """Float32 values of mean 0 and standard deviation 1."""
        return uniform(self.seed, f"input/{self.variant}/{name}", tuple(shape)) * np.float32(
            math.sqrt(3.0)
        )

    def ints(self, name: str, shape: tuple[int, ...], low: int, high: int) -> Array:
        """Int64 values in [low, high)."""
        return integers(self.seed, f"input/{self.variant}/{name}", shape, low, max(low + 1, high))

    @cached_property
    def vocabulary(self) -> int:
        """How many token ids the text's embedding has."""
        for config in (self.text, *self.configs()):
            for name in (
                "vocab_size",
                "text_vocab_size",
                "src_vocab_size",
                "num_embeddings",
                "codebook_size",
                "audio_vocab_size",
            ):
                value = getattr(config, name, None)
                if isinstance(value, int) and value > 1:
                    return value
        return 128

    @cached_property
    def specials(self) -> set[int]:
        """Every special id of any config: random text must hold none of them."""
        found: set[int] = set()
        for config in self.configs():
            for name, value in vars(config).items():
                if name.endswith(
                    (
                        "_token_id",
                        "_token_index",
                        "_token_idx",
                        "_id",
                        "_index",
                        "_token_ids",
                        "image_token",
                    )
                ):
                    values = value if isinstance(value, list | tuple) else [value]
                    found |= {v for v in values if isinstance(v, int) and not isinstance(v, bool)}
        return found

    def tokens(self, name: str, *shape: int, vocabulary: int | None = None) -> Array:
        """Random token ids, none of them special."""
        size = vocabulary or self.vocabulary
        plain = np.array([i for i in range(size) if i not in self.specials] or list(range(size)))
        return plain[self.ints(name, shape, 0, len(plain))].astype(np.int64)

    # -- media -------------------------------------------------------------------------------

    @cached_property
    def channels(self) -> int:
        """Colour channels of an image."""
        for name in (
            "num_channels",
            "in_channels",
            "in_chans",
            "num_input_channels",
            "input_channels",
        ):
            for config in (self.vision, *self.configs()):
                value = getattr(config, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 16:
                    return value
        return 3

    def side(self, within: Any = None) -> tuple[int, int]:
        """Height and width of an image."""
        size = self.find(
            "image_size",
            "img_size",
            "input_size",
            "crop_size",
            "resolution",
            within=within or self.vision,
        )
        if size is None:
            size = self.find("image_size", "img_size", "crop_size")
        if isinstance(size, dict):
            size = (size.get("height", 64), size.get("width", 64))
        if isinstance(size, list | tuple):
            return (int(size[-2]), int(size[-1])) if len(size) > 1 else (int(size[0]), int(size[0]))
        return (int(size), int(size)) if isinstance(size, int) and size > 1 else (64, 64)

    @cached_property
    def frames(self) -> int | None:
        """Frames of a video, where the config counts them."""
        value = self.find("num_frames", "frames_per_clip", "num_frames_per_video")
        return value if isinstance(value, int) else None

    @cached_property
    def patch(self) -> int:
        """Side of an image patch, in pixels."""
        value = self.find("patch_size", "spatial_patch_size", within=self.vision) or self.find(
            "patch_size", default=14
        )
        return int(value[-1] if isinstance(value, list | tuple) else value)

    @cached_property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.find("hidden_size", "d_model", default=64))

    @cached_property
    def temporal_patch(self) -> int:
        """Frames that one patch spans."""
        return int(self.find("temporal_patch_size", within=self.vision) or 1)

    @cached_property
    def merge(self) -> int:
        """Side of the square of patches that becomes one token."""
        value = (
            self.find(
                "spatial_merge_size",
                "merge_size",
                "merge_kernel_size",
                "window_kernel_size",
                "pooling_kernel_size",
                "downsample_ratio",
                within=self.vision,
            )
            or 1
        )
        if isinstance(value, list | tuple):
            value = value[0]
        return max(1, int(value)) if value >= 1 else 2

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of patches of one image."""
        side = self.merge * max(1, 4 // self.merge)
        return (1, side, side)

    def grids(self) -> Array:
        """The grid of each image, int64 (images, 3)."""
        return np.array([self.grid] * self.batch, dtype=np.int64)

    def flat_patches(self, name: str) -> Array:
        """Patches of all images in a row, as the layer that embeds them reads them."""
        count = self.batch * math.prod(self.grid)
        layer = self.patch_layer
        if type(layer).__name__ == "Linear":
            return self.floats(name, count, layer.in_features)
        rank = self.recipe.options.get("rank", 2)
        if type(layer).__name__ == "Conv2d" and rank > 2:
            shape = (count, layer.in_channels, *layer.kernel_size)
            return self.floats(name, *([1] * (rank - 4)), *shape)
        width = self.channels * self.temporal_patch * self.patch**2
        return self.floats(name, count, width)

    @cached_property
    def patch_layer(self) -> Any:
        """The layer that embeds one patch of an image: the first inside a module named for it."""
        for name, module in self.module.named_modules():
            inside = name.rsplit(".", 2)[-2:]
            if any("patch_embed" in part for part in inside) and type(module).__name__ in (
                "Linear",
                "Conv2d",
                "Conv3d",
            ):
                return module
        return None

    @cached_property
    def tiles(self) -> int | None:
        """How many tiles each example's image comes in; None where an image is one array."""
        options = self.recipe.options
        if options.get("rank") in (2, 3, 4):
            return None
        if options.get("tiles"):
            return int(options["tiles"])
        if self.find("image_grid_pinpoints"):
            return 3  # a picture twice as wide as high in two tiles, and the whole of it
        if self.frames and "pixel_values_videos" not in self.parameters:
            return self.frames
        if "pixel_attention_mask" in self.parameters and "spatial_shapes" not in self.parameters:
            return 2  # lists of images, padded to the longest
        return 1 if options.get("rank") == 5 else None

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
    def mels(self) -> int:
        """Bands of a spectrum."""
        wanted = self.recipe.options.get("mels")
        if wanted is not None:
            return int(wanted)
        for config in (self.audio, *self.configs()):
            for name in (
                "num_mel_bins",
                "input_feat_per_channel",
                "feature_size",
                "n_mels",
                "mel_dim",
                "input_feat_size",
                "n_mel_bins",
                "input_dim",
                "num_features",
                "mel_bins",
                "feature_projection_input_dim",
                "spec_size",
                "input_size",
                "model_in_dim",
            ):
                value = getattr(config, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and value > 1:
                    return value
        return 80

    @cached_property
    def mels_first(self) -> bool:
        """Whether spectra are (batch, mels, time): a Conv1d reads the mels as its channels."""
        layout = self.recipe.options.get("layout")
        if layout is not None:
            return bool(layout == "mels first")
        named = list(self.module.named_modules())
        audio = [m for name, m in named if re.search(r"audio|speech|sound", name)]
        for module in audio or [m for _, m in named]:
            width = _read_width(module)
            if width == self.mels:
                return hasattr(module, "in_channels")
        return False

    @cached_property
    def samples(self) -> int:
        """Samples of a waveform: a whole number of a codec's frames, two of them at least."""
        wanted = self.recipe.options.get("samples")
        if wanted is not None:
            return int(wanted)
        hop = 1
        for config in self.configs():
            value = getattr(config, "hop_length", None)
            if isinstance(value, int) and value > 1:
                hop = value
                break
        return hop * max(2, math.ceil(1600 / hop))

    @cached_property
    def mel_frames(self) -> int:
        """Frames of a spectrum: as many as the positions ask for, in whole windows."""
        wanted = self.recipe.options.get("frames")
        if wanted is not None:
            return int(wanted)
        positions = self.find("max_source_positions", within=self.audio)
        frames = 2 * (positions or 32) if self.mels_first else 64
        window = 2 * int(self.find("n_window", default=1))
        return math.ceil(frames / window) * window

    def documented(self, name: str) -> tuple[str, ...]:
        """The dimensions that the docstring of `forward` names for an argument, or none."""
        text = inspect.getdoc(self.module.forward) or ""
        found = re.search(rf"^ *{name} \([^\n]*?of shape `?\(([^`\n]*?)\)`?", text, re.MULTILINE)
        return tuple(part.strip() for part in found[1].split(",")) if found else ()

    def has(self, *names: str) -> bool:
        """Whether forward takes any of these arguments."""
        return any(n in self.parameters for n in names)

    # -- placeholders ------------------------------------------------------------------------

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
            return int(
                self.find(
                    "mm_tokens_per_image",
                    "image_seq_length",
                    "num_image_tokens",
                    "num_query_tokens",
                    "image_seq_len",
                    "audio_seq_length",
                    "latent_query_num",
                    default=0,
                )
                or 0
            )
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
                        f"{getattr(self.config, 'model_type', '?')!r} in harness/tiny/inputs.toml"
                    )
                value = self.value(name)
                if value is not None:
                    given[name] = torch.from_numpy(value)
                    if name in self.parameters:
                        self.made[name] = value
        with torch.no_grad():
            features = function(**given)
        total = sum(_rows(t) for t in _feature_tensors(features))
        return max(1, total // self.batch)


def _read_width(module: Any) -> int | None:
    """How wide an input a leaf layer reads: of a linear map, a norm or a 1-D convolution."""
    if type(module).__name__.endswith("Conv1d") and hasattr(module, "in_channels"):
        return int(module.in_channels)
    if hasattr(module, "in_features"):
        return int(module.in_features)
    shape = getattr(module, "normalized_shape", None)
    return int(shape[-1]) if shape else None


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


# -- one function for each forward argument ------------------------------------------------------

Function = Callable[[Maker], "Array | None"]

PHRASE = 8  # tokens of a prompt that names a class or a task
CLASSES = 3  # classes to look for in one image


def _input_ids(m: Maker) -> Array:
    streams = m.recipe.options.get("streams")
    if streams:  # a token of text and one of each codebook at every step
        return m.tokens("input_ids", m.batch, m.length, int(streams))
    ids = m.tokens("input_ids", m.batch, m.length)
    extra = m.placeholders
    if extra:
        media = [token for token, count in extra.items() for _ in range(count)]
        body = np.tile(np.array(media, dtype=np.int64), (m.batch, 1))
        ids = np.concatenate([ids[:, : m.length // 2], body, ids[:, m.length // 2 :]], axis=1)
    eos = m.find("eos_token_id", within=m.text)
    if isinstance(eos, int) and 0 <= eos < m.vocabulary and not extra:
        ids[:, -1] = eos  # CLIP-style pooling reads the position of the end token
    return ids


def _attention_mask(m: Maker) -> Array | None:
    for name in ("input_ids", "inputs_embeds", "input_values"):
        if name in m.made:
            return np.ones(
                (
                    m.made[name].shape[0],
                    m.made[name].shape[-1] if name == "input_values" else m.made[name].shape[1],
                ),
                dtype=np.int64,
            )
    return None


def _pixel_values(m: Maker) -> Array:
    height, width = m.side()
    if m.has("image_grid_thw", "grid_thw", "image_grid_hw"):
        return m.flat_patches("pixel_values")
    if m.has("image_position_ids", "pixel_position_ids"):
        return m.floats("pixel_values", m.batch, math.prod(m.grid), m.channels * m.patch**2)
    if m.has("spatial_shapes"):
        return m.floats("pixel_values", m.batch, PATCHES, m.channels * m.patch**2)
    if m.has("aspect_ratio_ids"):
        tiles = int(m.find("max_num_tiles", default=1))
        return m.floats("pixel_values", m.batch, 1, tiles, m.channels, height, width)
    if m.has("target_sizes") and "target_sizes" not in m.recipe.drop:
        # Images of any size in one row of patches.
        return m.floats("pixel_values", 1, m.channels, m.patch, m.patch * m.batch * PATCHES)
    if m.tiles:
        return m.floats("pixel_values", m.batch, m.tiles, m.channels, height, width)
    return m.floats("pixel_values", m.batch, m.channels, height, width)


def _pixel_values_videos(m: Maker) -> Array | None:
    if "pixel_values" in m.made or ("pixel_values" in m.parameters and "input_ids" in m.parameters):
        return None
    height, width = m.side()
    return m.floats("pixel_values_videos", m.batch, m.frames or 4, m.channels, height, width)


def _input_features(m: Maker) -> Array:
    shape = (m.mels, m.mel_frames) if m.mels_first else (m.mel_frames, m.mels)
    return m.floats("input_features", m.batch, *shape)


def _input_values(m: Maker) -> Array:
    rank = m.recipe.options.get("rank") or len(m.documented("input_values"))
    if m.find("max_length", "num_mel_bins") and hasattr(m.config, "frequency_stride"):
        return m.floats(
            "input_values", m.batch, int(m.find("max_length")), int(m.find("num_mel_bins"))
        )
    if rank == 3 or (not rank and isinstance(m.find("audio_channels"), int)):
        return m.floats("input_values", m.batch, m.find("audio_channels", default=1), m.samples)
    return m.floats("input_values", m.batch, m.samples)


def _decoder_input_ids(m: Maker) -> Array:
    decoder = getattr(m.config, "decoder", None)
    size = (
        getattr(decoder, "vocab_size", None)
        or getattr(m.config, "decoder_vocab_size", None)
        or getattr(m.config, "tgt_vocab_size", None)
    )
    rows = m.batch * int(m.recipe.options.get("decoder_streams", 1))
    return m.tokens(
        "decoder_input_ids",
        rows,
        max(4, m.length // 2),
        vocabulary=size if isinstance(size, int) else None,
    )


def _hidden_states(m: Maker) -> Array:
    if m.has("grid_thw"):
        return m.flat_patches("hidden_states")
    return m.floats(
        "hidden_states",
        m.batch,
        m.length,
        int(m.find("hidden_size", "d_model", "encoder_hidden_size", default=64)),
    )


def _bbox(m: Maker) -> Array:
    corners = np.sort(m.ints("bbox", (m.batch, m.length, 4), 0, 100), axis=-1)
    return corners


def _inputs_embeds(m: Maker) -> Array:
    return m.floats(
        "inputs_embeds",
        m.batch,
        m.length,
        int(m.find("hidden_size", "d_model", "n_embd", default=64, within=m.text) or 64),
    )


def _image_sizes(m: Maker) -> Array | None:
    if "pixel_values" not in m.made or not m.asks_image_sizes:
        return None
    height, width = m.side()
    if m.find("image_grid_pinpoints"):
        width *= 2
    return np.array([[height, width]] * m.batch, dtype=np.int64)


def _pixel_attention_mask(m: Maker) -> Array | None:
    """Which patches or tiles are no padding; left out where leaving it out means all."""
    pixels = m.made.get("pixel_values")
    needed = m.has("spatial_shapes") or m.extractor_requires("pixel_attention_mask")
    return np.ones(pixels.shape[:2], dtype=np.bool_) if pixels is not None and needed else None


def _padding_mask(m: Maker) -> Array | None:
    """Which samples are no padding; only where features can't be had without."""
    if not m.extractor_requires("padding_mask"):
        return None
    for name in ("input_values", "input_features"):
        if name in m.made:
            return np.ones((m.batch, m.made[name].shape[-1]), dtype=np.int64)
    return None


def _target_sizes(m: Maker) -> Array | None:
    """Rows and columns of patches of each image."""
    side = math.isqrt(PATCHES)
    return np.array([[side, side]] * m.batch, dtype=np.int64)


def _aspect_ratio_mask(m: Maker) -> Array | None:
    return np.ones(m.made["pixel_values"].shape[:3], dtype=np.int64)


def _cross_attention_mask(m: Maker) -> Array | None:
    """Every token sees every tile of the image."""
    if "pixel_values" not in m.made or not m.has("aspect_ratio_ids"):
        return None
    return np.ones((m.batch, m.length, *m.made["pixel_values"].shape[1:3]), dtype=np.int64)


def _image_positions(m: Maker) -> Array | None:
    """Which positions of the text the image takes, where no token id marks them."""
    if not {"pixel_values", "flattened_patches"} & m.made.keys():
        return None
    mask = np.zeros((m.batch, m.length), dtype=np.int64)
    mask[:, 1 : 1 + m.feature_rows("get_image_features")] = 1
    return mask


def _patch_positions(m: Maker) -> Array:
    """Column and row of each patch."""
    _, rows, columns = m.grid
    one = [[x, y] for y in range(rows) for x in range(columns)]
    return np.array([one] * m.batch, dtype=np.int64)


def _phrases(name: str, each: int) -> Function:
    """Short texts, so many for each example."""
    return lambda m: m.tokens(name, m.batch * each, PHRASE)


def _phrase_mask(each: int) -> Function:
    return lambda m: np.ones((m.batch * each, PHRASE), dtype=np.int64)


def _context_hidden_states(m: Maker) -> Array:
    """Hidden states of the layers of the main model that a drafting model reads, side by side."""
    layers = m.find("target_layer_ids", default=[0])
    return m.floats("context_hidden_states", m.batch, m.length, m.width * len(layers))


def _flattened_patches(m: Maker) -> Array:
    """Patches in a row, each after its own row and column in the image, counted from one."""
    side = math.isqrt(PATCHES)
    width = int(m.find("patch_embed_hidden_size", default=m.channels * m.patch**2))
    patches = m.floats("flattened_patches", m.batch, PATCHES, 2 + width)
    patches[..., 0] = 1 + np.arange(PATCHES) // side
    patches[..., 1] = 1 + np.arange(PATCHES) % side
    return patches


def _merge_sizes(m: Maker) -> Array | None:
    return np.array([m.merge] * m.batch, dtype=np.int64)


def _image_companion(make: Function) -> Function:
    """An argument that is only passed along with an image."""
    return lambda m: make(m) if "pixel_values" in m.made else None


def _past_values(m: Maker) -> Array:
    length = m.find("context_length", "seq_length", default=32)
    channels = m.find("num_input_channels", "input_size", default=1)
    lags = m.find("lags_sequence")
    if isinstance(lags, list | tuple):
        length = length + max(lags)
    if m.recipe.options.get("rank") == 2 or (
        not isinstance(lags, list | tuple) and m.find("num_input_channels") is None
    ):
        return m.floats("past_values", m.batch, int(length))
    return (
        m.floats("past_values", m.batch, int(length), int(channels))
        if channels != 1 or lags is None
        else m.floats("past_values", m.batch, int(length))
    )


def _past_mask(m: Maker) -> Array:
    return np.ones(m.made["past_values"].shape, dtype=np.float32)


def _past_time_features(m: Maker) -> Array:
    return m.floats(
        "past_time_features",
        m.batch,
        m.made["past_values"].shape[1],
        int(m.find("num_time_features", default=1)),
    )


def _future_time_features(m: Maker) -> Array:
    return m.floats(
        "future_time_features",
        m.batch,
        int(m.find("prediction_length", default=8)),
        int(m.find("num_time_features", default=1)),
    )


def _future_values(m: Maker) -> Array:
    shape = (m.batch, int(m.find("prediction_length", default=8)))
    return m.floats("future_values", *shape, *m.made["past_values"].shape[2:])


def _speaker_embeddings(m: Maker) -> Array:
    return m.floats("speaker_embeddings", m.batch, int(m.find("speaker_embedding_dim", default=64)))


def _pixels_like(name: str) -> Function:
    """Another image of the size of `pixel_values`."""
    return lambda m: (
        m.floats(name, *m.made["pixel_values"].shape) if "pixel_values" in m.made else None
    )


def _latents(m: Maker) -> Array:
    width = int(m.find("hidden_size", "latent_dim", default=64))
    channels_first = m.documented("latents")[-1:] == ("frames",)
    return m.floats(
        "latents", m.batch, *((width, m.length) if channels_first else (m.length, width))
    )


def _feature_mask(m: Maker) -> Array | None:
    """One flag a frame of the spectrum."""
    array = m.made.get("input_features")
    if array is None:
        return None
    return np.ones((array.shape[0], array.shape[2 if m.mels_first else 1]), dtype=np.bool_)


def _mask_like(source: str) -> Function:
    def make(m: Maker) -> Array | None:
        array = m.made.get(source)
        return None if array is None else np.ones(array.shape[:2], dtype=np.int64)

    return make


def _pixel_mask(m: Maker) -> Array | None:
    return None


def _mm_token_types(m: Maker) -> Array | None:
    ids = m.made.get("input_ids")
    if ids is None or not m.placeholders:
        return None if ids is None else np.zeros(ids.shape, dtype=np.int64)
    return np.isin(ids, list(m.placeholders)).astype(np.int64)


def _token_types(m: Maker) -> Array | None:
    """0 for the prompt, 1 for the answer after it: the last quarter of the text."""
    ids = m.made.get("input_ids")
    if ids is None:
        return None
    answer = np.arange(ids.shape[1]) >= ids.shape[1] * 3 // 4
    return np.tile(answer.astype(np.int64), (ids.shape[0], 1))


def _boxes(m: Maker) -> Array:
    height, width = m.side()
    return np.array(
        [[[0.1 * width, 0.1 * height, 0.8 * width, 0.7 * height]]] * m.batch, dtype=np.float32
    )


def _points(m: Maker) -> Array:
    height, width = m.side()
    return np.array([[[[0.4 * width, 0.6 * height]]]] * m.batch, dtype=np.float32)


def _audio_values(m: Maker) -> Array:
    """A spectrogram as an image: one channel, time by frequency."""
    channels = int(m.find("num_audio_channels", default=1))
    sides = (int(m.find(name, default=64)) for name in ("spectrogram_length", "frequency_length"))
    return m.floats("audio_values", m.batch, channels, *sides)


# A graph: its nodes and edges are random, its shape is a ring, so that all distances are known.


def _ring(m: Maker) -> Array:
    """How many edges lie between each two nodes."""
    nodes = np.arange(m.length)
    steps = np.abs(nodes[:, None] - nodes)
    around: Array = np.minimum(steps, m.length - steps)
    return around


def _spatial_pos(m: Maker) -> Array:
    """Distances, one more each: 0 is for padding."""
    return np.tile(_ring(m) + 1, (m.batch, 1, 1)).astype(np.int64)


def _degrees(m: Maker) -> Array:
    return np.full((m.batch, m.length), 1 + 2, dtype=np.int64)


def _input_nodes(m: Maker) -> Array:
    return m.ints("input_nodes", (m.batch, m.length, 1), 1, int(m.find("num_atoms", default=2)))


def _input_edges(m: Maker) -> Array:
    """The edges on the shortest path between each two nodes; 0 after its end."""
    distances = _ring(m)
    steps = np.arange(distances.max())
    shape = (m.batch, *distances.shape, len(steps))
    edges = m.ints("input_edges", shape, 1, int(m.find("num_edges", default=2)))
    return np.where(steps < distances[..., None], edges, 0)[..., None]


def _attn_edge_type(m: Maker) -> Array:
    shape = (m.batch, m.length, m.length)
    edges = m.ints("attn_edge_type", shape, 1, int(m.find("num_edges", default=2)))
    return np.where(_ring(m) == 1, edges, 0)[..., None]


ARGUMENTS: dict[str, Function] = {
    "input_ids": _input_ids,
    "attention_mask": _attention_mask,
    "decoder_input_ids": _decoder_input_ids,
    "pixel_values": _pixel_values,
    "pixel_values_videos": _pixel_values_videos,
    "input_features": _input_features,
    "input_values": _input_values,
    "hidden_states": _hidden_states,
    "inputs_embeds": _inputs_embeds,
    "grid_thw": Maker.grids,
    "image_grid_thw": Maker.grids,
    "bbox": _bbox,
    "image_sizes": _image_sizes,
    "past_values": _past_values,
    "past_observed_mask": _past_mask,
    "past_time_features": _past_time_features,
    "future_time_features": _future_time_features,
    "future_values": _future_values,
    "speaker_embeddings": _speaker_embeddings,
    "mm_token_type_ids": _mm_token_types,
    "token_type_ids": _token_types,
    "input_features_mask": _feature_mask,
    "audio_mel": _input_features,
    "audio_mel_mask": lambda m: np.zeros(m.made["audio_mel"].shape[:2], dtype=np.bool_),
    "feature_attention_mask": _feature_mask,
    "input_boxes": _boxes,
    "input_points": _points,
    "qformer_input_ids": lambda m: m.tokens(
        "qformer_input_ids",
        m.batch,
        8,
        vocabulary=m.find("vocab_size", within=getattr(m.config, "qformer_config", m.config))
        or 128,
    ),
    "noise": lambda m: m.floats("noise", m.batch, math.prod(n // m.patch for n in m.side())),
    "context_input_ids": lambda m: m.tokens(
        "context_input_ids", m.batch * int(m.find("n_docs", default=2)), m.length
    ),
    "context_attention_mask": lambda m: np.ones(m.made["context_input_ids"].shape, dtype=np.int64),
    "doc_scores": lambda m: m.floats("doc_scores", m.batch, int(m.find("n_docs", default=2))),
    "spatial_shapes": _image_companion(_target_sizes),
    "pixel_attention_mask": _pixel_attention_mask,
    "merge_sizes": _merge_sizes,
    "image_grid_hw": lambda m: m.grids()[:, 1:],
    "flattened_patches": _flattened_patches,
    "protein_input_ids": lambda m: m.tokens(
        "protein_input_ids",
        m.batch,
        m.length,
        vocabulary=m.find("vocab_size", within=m.find("protein_encoder_config")),
    ),
    "protein_attention_mask": lambda m: np.ones((m.batch, m.length), dtype=np.int64),
    "classes_input_ids": _phrases("classes_input_ids", CLASSES),
    "classes_attention_mask": _phrase_mask(CLASSES),
    "classes_structure": lambda m: np.full(m.batch, CLASSES, dtype=np.int64),
    "tasks_input_ids": _phrases("tasks_input_ids", 1),
    "tasks_attention_mask": _phrase_mask(1),
    "noise_embeds": lambda m: m.floats(
        "noise_embeds", m.batch, int(m.find("block_size", default=8)), m.width
    ),
    "context_hidden_states": _context_hidden_states,
    "pixel_position_ids": _patch_positions,
    "image_position_ids": _image_companion(_patch_positions),
    "target_sizes": _image_companion(_target_sizes),
    "aspect_ratio_ids": _image_companion(
        lambda m: np.full(
            (m.batch, 1), len(m.find("supported_aspect_ratios", default=[1])), dtype=np.int64
        )
    ),
    "aspect_ratio_mask": _image_companion(_aspect_ratio_mask),
    "cross_attention_mask": _cross_attention_mask,
    "image_embeds_position_mask": _image_positions,
    "visual_feats": lambda m: m.floats(
        "visual_feats", m.batch, 8, int(m.find("visual_feat_dim", default=64))
    ),
    "visual_pos": lambda m: np.abs(
        m.floats("visual_pos", m.batch, 8, int(m.find("visual_pos_dim", default=4)))
    ),
    "inputs": lambda m: m.floats(
        "inputs", m.batch, m.length, int(m.find("d_model", "hidden_size", default=64))
    ),
    "task_inputs": lambda m: m.tokens(
        "task_inputs",
        m.batch,
        int(m.find("task_seq_len", default=m.length)),
        vocabulary=m.find("text_encoder_vocab_size"),
    ),
    "image_merge_sizes": _image_companion(_merge_sizes),
    "image_attention_mask": lambda m: np.ones((m.batch, m.length, 1), dtype=np.int64),
    "lengths": lambda m: None,
    "audio_values": _audio_values,
    "raw_audio": lambda m: m.floats(
        "raw_audio", m.batch, m.samples, int(m.find("conv_input_shape", default=1))
    ),
    "trajectories": lambda m: m.tokens("trajectories", m.batch, m.length),
    "input_nodes": _input_nodes,
    "input_edges": _input_edges,
    "attn_bias": lambda m: np.zeros((m.batch, m.length + 1, m.length + 1), dtype=np.float32),
    "in_degree": _degrees,
    "out_degree": _degrees,
    "spatial_pos": _spatial_pos,
    "attn_edge_type": _attn_edge_type,
    "padding_mask": _padding_mask,
    "latents": _latents,
    "noise_sequence": lambda m: m.floats(
        "noise_sequence", *m.made["input_features"].shape[:2], int(m.find("model_in_channels"))
    ),
    "prompt_pixel_values": _pixels_like("prompt_pixel_values"),
    "prompt_masks": _pixels_like("prompt_masks"),
    # Floating, as the heads for prediction make it: a mask that is made of integers overflows.
    "past_values_padding": lambda m: np.zeros(m.made["past_values"].shape, dtype=np.float32),
    "freq": lambda m: m.ints("freq", (m.batch, 1), 0, int(m.find("freq_size", default=1))),
    "sample": lambda m: np.array(False),  # a random draw would differ from run to run
}

#: What a user passes whenever the signature has it.
USUAL = (
    "input_ids",
    "attention_mask",
    "pixel_values",
    "input_features",
    "input_values",
    "decoder_input_ids",
    "image_grid_thw",
    "bbox",
    "image_sizes",
    "future_values",
    "future_time_features",
    "mm_token_type_ids",
    "input_features_mask",
    "feature_attention_mask",
    "image_attention_mask",
    "spatial_shapes",
    "pixel_attention_mask",
    "image_merge_sizes",
    "image_position_ids",
    "padding_mask",
    "sample",
    "target_sizes",
    "aspect_ratio_ids",
    "aspect_ratio_mask",
    "cross_attention_mask",
    "image_embeds_position_mask",
    "visual_feats",
    "visual_pos",
    "image_grid_hw",
    "flattened_patches",
    "protein_input_ids",
    "protein_attention_mask",
)
MAIN = {
    "pixel_values",
    "pixel_values_videos",
    "input_features",
    "input_values",
    "past_values",
    "hidden_states",
    "inputs",
    "latents",
}
TEXT = {
    "input_ids",
    "attention_mask",
    "mm_token_type_ids",
    "token_type_ids",
    "bbox",
    "image_attention_mask",
}
COMPANIONS = {
    "noise_sequence",
    "image_embeds_position_mask",
    "prompt_pixel_values",
    "prompt_masks",
    "past_values_padding",
    "attention_mask",
    "mm_token_type_ids",
    "token_type_ids",
    "past_observed_mask",
    "past_time_features",
    "future_time_features",
    "future_values",
    "input_features_mask",
    "feature_attention_mask",
    "bbox",
    "image_attention_mask",
}
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

#: Patches of an image where the model takes images of any size as rows of patches.
PATCHES = 16

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
