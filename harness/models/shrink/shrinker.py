"""A config class becomes a small config: sizes shrink, structure stays.

The declared defaults are shrunk and the config is constructed once, so that whatever the class
derives from them (`head_dim`, stage names, rope tables) is derived from the small values. Only then
are values that are still equal to the unshrunk default's shrunk in place: those were not derived.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.models.config_classes import config_class, parts_of

HERE = Path(__file__).parent
MAX_LAYERS = 6
MAX_CHANNELS = 128
VOCABULARY = 128

Config = Any


@dataclass(frozen=True, slots=True)
class ConfigOverride:
    """What one config class needs beyond the rules; the rows of `overrides.toml`."""

    set: Mapping[str, Any] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()  # fields, or kinds of rules, that stay as declared
    replace: Mapping[str, Any] = field(default_factory=dict)  # another sub-config in its place
    subs: Mapping[str, str] = field(default_factory=dict)  # model types of absent sub-configs
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShrinkRule:
    """One row of `rules.toml`."""

    kind: str
    pattern: re.Pattern[str]
    to: int | None
    factor: float | None = None  # the value of a multiplier of sizes, at most


@cache
def rules() -> tuple[ShrinkRule, ...]:
    """The rows of `rules.toml`, in order."""
    rows = tomllib.loads((HERE / "rules.toml").read_text(encoding="utf-8"))["rule"]
    return tuple(
        ShrinkRule(
            row["kind"],
            re.compile("|".join(f"(?:{m})" for m in row["match"])),
            row.get("to"),
            row.get("factor"),
        )
        for row in rows
    )


@cache
def overrides() -> Mapping[str, ConfigOverride]:
    """The tables of `overrides.toml`, by model type or the name of a config or model class."""
    tables = tomllib.loads((HERE / "overrides.toml").read_text(encoding="utf-8"))
    return {
        name: ConfigOverride(
            table.get("set", {}),
            frozenset(table.get("keep", ())),
            table.get("replace", {}),
            table.get("subs", {}),
            table["reason"],
        )
        for name, table in tables.items()
    }


@cache
def rule_of(name: str) -> ShrinkRule | None:
    """The first rule whose pattern matches the whole field name."""
    return next((rule for rule in rules() if rule.pattern.fullmatch(name)), None)


class Shrinker:
    """Shrinks one config and its sub-configs; holds what they share (the special tokens)."""

    def __init__(self, cls: type, model: str = "") -> None:
        self._top, self._model = cls, model
        self._tokens: dict[int | str, int] = {}
        self._channels: int | None = None  # the divisor of every channel list of the whole config

    def shrink(
        self, cls: type, given: Mapping[str, Any] | None = None, plain: Config | None = None
    ) -> Config:
        """A small config.

        Args:
            cls: the config class.
            given: arguments that differ from the class's defaults; they shrink as the defaults do.
            plain: the unshrunk config, where it exists; absent, it's constructed from `given`.

        Raises:
            Whatever the config class raises when its own checks refuse the small values.
        """
        given = dict(given or {})
        override = self._override(cls)
        forced = {
            name: copy.deepcopy(value)
            for name, value in override.set.items()
            if not _is_said(name, given)
        }
        whole = plain is None
        if plain is None:
            given = {**_own_backbone(cls), **given}
            plain = self._default(cls, given)
        declared = {**_declared_defaults(cls), **given}
        subs = {
            name: value
            for name, value in vars(plain).items()
            if _is_config(value) and name in declared
        }
        layers = None if {"layers", "num_hidden_layers"} & override.keep else _layer_indices(plain)
        if self._channels is None:
            self._channels = _channel_divisor(plain)
        channels = self._channels if self._channels > 1 else _channel_divisor(plain)
        arguments: dict[str, Any] = {}
        for name, value in declared.items():
            if name in forced:
                continue
            if name in subs:
                arguments[name] = self._sub(subs[name], given.get(name))
            else:
                small = self._small(name, value, plain, override, layers, channels)
                if small is not value or name in given:
                    arguments[name] = small
        if layers is not None:
            for name, value in vars(plain).items():
                if name in declared and name not in forced and _is_per_layer(name, value, plain):
                    one = name.removesuffix("_per_layer")
                    arguments[name] = type(value)(
                        self._small(one, value[i], plain, override, layers, channels)
                        for i in layers[1]
                    )
        absent = _absent_subs(cls, plain)
        absent |= {name: _class_of(model_type) for name, model_type in override.subs.items()}
        for name, sub in absent.items():
            if name not in override.keep:
                arguments[name] = self.shrink(sub)
        own = getattr(cls, "attribute_map", {})
        shape = {own.get(name, name) for name in ("head_dim", "num_attention_heads", "hidden_size")}
        head_dim = own.get("head_dim", "head_dim")
        if whole and shape & given.keys() and head_dim in arguments:
            # Only what an entry says of itself: two parts of a composite may have to agree on it.
            arguments[head_dim] = _fit_width(arguments[head_dim], plain)
        arguments.update(forced)
        config = _construct(cls, arguments)
        self._shrink_in_place(config, plain, arguments, override, layers, channels)
        _fill_absent(config)
        self._name_placeholders(config)
        _fit_outputs(config, plain, forced)
        _fit_rope(config, forced)
        _fit_images(config, forced)
        _fit_maps(config, plain, forced)
        return config

    def _sub(self, plain: Config, given: Any) -> Config:
        """A small sub-config, or the one that an override puts in its place."""
        replacement = dict(self._override(type(plain)).replace)
        if replacement:
            cls = _class_of(replacement.pop("model_type"))
            return self.shrink(cls, {**replacement, **(given or {})})
        return self.shrink(type(plain), _sub_given(plain, given), plain)

    def _override(self, cls: type) -> ConfigOverride:
        table = overrides()
        found = table.get(cls.__name__) or table.get(getattr(cls, "model_type", "") or cls.__name__)
        found = found or ConfigOverride()
        head = table.get(self._model) if cls is self._top else None
        if head is None:
            return found
        return replace(
            found, set={**found.set, **head.set}, keep=found.keep | head.keep, reason=head.reason
        )

    def _default(self, cls: type, given: Mapping[str, Any]) -> Config:
        """The unshrunk config; where its own defaults are refused, the override's values help."""
        try:
            return cls(**copy.deepcopy(dict(given)))
        except Exception:  # some default configs can't be built: the override says with what
            return cls(**{**given, **copy.deepcopy(dict(self._override(cls).set))})

    def _small(
        self,
        name: str,
        value: Any,
        plain: Config,
        override: ConfigOverride,
        layers: tuple[int, tuple[int, ...]] | None,
        channels: int,
    ) -> Any:
        rule = rule_of(name)
        if name in override.keep or (rule is not None and rule.kind in override.keep):
            return value
        if name in _UNSET and value == _UNSET[name][0]:
            return _UNSET[name][1]
        if isinstance(value, float) and rule is not None and rule.factor is not None:
            return min(value, rule.factor)
        if isinstance(value, bool) or value is None or isinstance(value, str | float):
            return value
        if isinstance(value, list | tuple):
            if _LAYER_INDICES.fullmatch(name) and "layers" not in override.keep:
                return type(value)([1 if layers is None else len(layers[1]) - 1])
            if layers is not None and _is_pattern(name, value) and len(value) < layers[0]:
                return type(value)(_kinds(value))
            return _small_list(name, value, plain, override, channels)
        if isinstance(value, int) and rule is not None:
            return self._small_int(rule, name, value, plain, layers)
        return value

    def _small_int(
        self,
        rule: ShrinkRule,
        name: str,
        value: int,
        plain: Config,
        layers: tuple[int, tuple[int, ...]] | None,
    ) -> int:
        if rule.kind == "token":
            return self._token(value)
        if rule.kind == "layers":
            if layers is not None and value == layers[0]:
                return len(layers[1])
            depths = vars(plain).get("depths")
            if isinstance(depths, list | tuple) and len(depths) == value:
                return value  # counts the stages, each of which has its own list entries
            return min(value, 2)
        if value <= 0:
            return value
        return _SCALARS.get(rule.kind, _capped)(rule, name, value, plain)

    def _token(self, value: int) -> int:
        """Special ids beyond the small vocabulary move to distinct ids at its end."""
        return value if value < VOCABULARY - 40 else self._distinct(value)

    def _distinct(self, key: int | str) -> int:
        return self._tokens.setdefault(key, VOCABULARY - 1 - len(self._tokens))

    def _name_placeholders(self, config: Config) -> None:
        """Gives an id to each placeholder of media that only checkpoints' configs name."""
        for name, value in list(vars(config).items()):
            if value is None and _PLACEHOLDER.fullmatch(name):
                setattr(config, name, self._distinct(name))

    def _shrink_in_place(
        self,
        config: Config,
        plain: Config,
        arguments: Mapping[str, Any],
        override: ConfigOverride,
        layers: tuple[int, tuple[int, ...]] | None,
        channels: int,
    ) -> None:
        for name, value in list(vars(config).items()):
            if name.startswith("_") or name in arguments or _is_config(value):
                continue
            if name in vars(plain) and value == vars(plain)[name]:
                small = self._small(name, value, plain, override, layers, channels)
                if small is not value and small != value:
                    setattr(config, name, small)


def _is_said(name: str, given: Mapping[str, Any]) -> bool:
    """Whether an entry itself says what an override would: no size, and nothing of its layers."""
    value = given.get(name)
    return rule_of(name) is None and isinstance(value, bool | int | float | str)


def _construct(cls: type, arguments: Mapping[str, Any]) -> Config:
    """The config; older classes take their sub-configs as dictionaries only, or drop the others."""
    parts = {name: value.to_dict() for name, value in arguments.items() if _is_config(value)}
    try:
        config = cls(**arguments)
    except (TypeError, AttributeError):
        if not parts:
            raise
    else:
        if parts.keys() <= vars(config).keys():
            return config
    return cls(**{**arguments, **parts})


def _class_of(model_type: str) -> type:
    return config_class(model_type)


def _is_config(value: Any) -> bool:
    return (
        hasattr(value, "model_type") and hasattr(value, "to_dict") and not isinstance(value, type)
    )


def _own_backbone(cls: type) -> dict[str, Any]:
    """What makes a config take transformers' own backbone where it leaves the choice.

    timm's would need torchvision, whose wheel does not load beside a CPU torch.
    """
    declared = _declared_defaults(cls)
    if declared.get("use_timm_backbone") is not True:
        return {}
    own = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    return {name: value for name, value in own.items() if name in declared}


def _absent_subs(cls: type, plain: Config) -> dict[str, type]:
    """Classes of the sub-configs that a default composite lacks: a modality of its own each."""
    return {
        name: sub
        for name, sub in parts_of(cls).items()
        if vars(plain).get(name, plain) is None and vars(sub).get("model_type", "")
    }


def _declared_defaults(cls: type) -> dict[str, Any]:
    """Arguments of the constructor with their defaults, for dataclass and older configs."""
    found: dict[str, Any] = {}
    if dataclasses.is_dataclass(cls):
        for item in dataclasses.fields(cls):
            if item.name.startswith("_"):
                continue
            if item.default is not dataclasses.MISSING:
                found[item.name] = item.default
            elif item.default_factory is not dataclasses.MISSING:
                found[item.name] = item.default_factory()
        return found
    for base in reversed(cls.__mro__[:-1]):
        if "__init__" not in vars(base) or base.__name__ in _BASES:
            continue
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                found[name] = parameter.default
    return found


_BASES = {"PretrainedConfig", "PreTrainedConfig", "PushToHubMixin"}


def _sub_given(sub: Config, given: Any) -> dict[str, Any]:
    """What a composite config passes to a sub-config beyond that class's own defaults."""
    declared = _declared_defaults(type(sub))
    try:
        plain = vars(type(sub)())
    except Exception:
        plain = {}
    found = {
        name: value
        for name, value in vars(sub).items()
        if name in declared and name in plain and not _is_config(value) and value != plain[name]
    }
    if isinstance(given, Mapping):
        found.update({k: v for k, v in given.items() if k != "model_type"})
    found.pop("dtype", None)
    return found


#: Fields with the id of the token in whose place an encoder's features go.
_PLACEHOLDER = re.compile(r"(image|video|audio)_token_(id|index)")

#: Fields that a default leaves out although every use needs them: what stands there, and what is
#: put in its place.
_UNSET: Mapping[str, tuple[Any, Any]] = {
    "prediction_length": (None, 12),
    "num_time_features": (0, 1),
}

#: Lists of kinds of layers that repeat until there are as many as layers.
_PATTERN = re.compile(r"(block|layer)s?_(types?|pattern)")


def _layer_count(config: Config) -> int | None:
    """How many layers a config has; a property counts a list of them."""
    if isinstance(getattr(type(config), "num_hidden_layers", None), property):
        return int(config.num_hidden_layers)
    for name in ("num_hidden_layers", "n_layer", "num_layers", "n_layers"):
        value = vars(config).get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _is_per_layer(name: str, value: Any, plain: Config) -> bool:
    count = _layer_count(plain)
    return (
        count is not None
        and count > 1
        and isinstance(value, list | tuple)
        and len(value) == count
        and not name.startswith("_")
        and all(isinstance(item, str | int | float | bool | type(None)) for item in value)
    )


def _is_pattern(name: str, value: Any) -> bool:
    """Whether a field lists kinds of layers by name."""
    return (
        _PATTERN.fullmatch(name) is not None
        and isinstance(value, list | tuple)
        and all(isinstance(item, str) for item in value)
    )


def _kinds(pattern: list[str] | tuple[str, ...]) -> list[str]:
    """Each kind of layer once, in order."""
    return list(dict.fromkeys(pattern))


def _layer_indices(plain: Config) -> tuple[int, tuple[int, ...]] | None:
    """How many layers the unshrunk config has, and one index for each distinct kind of layer.

    None where layers aren't counted by one number (stage models have `depths`).
    """
    count = _layer_count(plain)
    if count is None or "depths" in vars(plain):
        return None
    lists = [value for name, value in vars(plain).items() if _is_per_layer(name, value, plain)]
    least = max([2, *(len(_kinds(v)) for n, v in vars(plain).items() if _is_pattern(n, v))])
    seen: dict[tuple[Any, ...], int] = {}
    for i in range(count):
        seen.setdefault(tuple(value[i] for value in lists), i)
    indices = sorted(seen.values())[:MAX_LAYERS]
    outputs = vars(plain).get("_out_indices") or ()
    for i in range(count):
        if len(indices) >= min(max(least, len(outputs)), count):
            break
        if i not in indices:
            indices.append(i)
    return count, tuple(sorted(indices))


_CHANNELS = re.compile(
    r"hidden_sizes|embed_dims?|(stage_|layer_list_|head_|block_)?(in|mid|out)_channels|stem_channels|conv_dim"
    r"|stage_(in|mid|out)_channels|neck_hidden_sizes|encoder_hidden_sizes|widths|channels"
    r"|encoder_in_channels|base_attn_unit_dims|decoder_hidden_size|d_model_list"
    r"|backbone_channels|vision_features_channels|backbone_channel_list|channel_list"
    r"|enc_channels|bridge_connector|.*_channels_list|.*conv_channel(s|_size)|intermediate_feature_dims"
    r"|scaled_images_feature_dims|(fusion|convstream)_hidden_sizes|embed_dim_per_stage|tdnn_dim"
    r"|mask_feature_channels|downsample_channels|fpn_hidden_sizes|layer_out_channels|hidden_dims"
)


def _all_fields(config: Config) -> Iterator[tuple[str, Any]]:
    """Names and values of a config's fields and of its sub-configs'."""
    for name, value in vars(config).items():
        if _is_config(value):
            yield from _all_fields(value)
        else:
            yield name, value


def _channel_divisor(plain: Config) -> int:
    """One power of two for all channel lists of a config, so that what fits keeps fitting."""
    largest, smallest = 0, 10**9
    for name, value in _all_fields(plain):
        if isinstance(value, list | tuple) and value and _CHANNELS.fullmatch(name):
            numbers = [v for v in value if isinstance(v, int) and not isinstance(v, bool) and v > 4]
            if len(numbers):
                largest, smallest = max(largest, *numbers), min(smallest, *numbers)
    divisor = 1
    while largest // divisor > MAX_CHANNELS and (smallest // (divisor * 2)) >= 4 and divisor < 64:
        divisor *= 2
    return divisor


#: Lists of the layers that attend globally or hand on their output: the last of a small model.
_LAYER_INDICES = re.compile(
    r"(global_attn|fullatt_block|deepstack_visual)_indexes|cross_attention_layers"
)

#: Lists with one entry for each residual block of a vocoder, all as long as each other.
_RESBLOCKS = re.compile(r"(.*_)?resblock_(kernel|stride|dilation)_sizes")

#: Lists of widths that other fields give as one number.
_WIDTHS = re.compile(r"decoder_in_channels|moe_intermediate_size|downsample_channels")


def _small_list(
    name: str,
    value: list[Any] | tuple[Any, ...],
    plain: Config,
    override: ConfigOverride,
    channels: int,
) -> Any:
    if _RESBLOCKS.fullmatch(name):
        return value[:2]
    if not value or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        return value
    if _WIDTHS.fullmatch(name):
        return type(value)(min(v, 64) for v in value)
    if _CHANNELS.fullmatch(name) and "channels_list" not in override.keep:
        return type(value)(max(1, v // channels) if v > 4 else v for v in value)
    if (
        re.fullmatch(
            r"depths|(stage_)?num_blocks|stage_num_blocks|num_block_repeats|layers|depth|blocks_per_stage|block_sizes|stage_numb_of_layers|layers_per_block|n_attn_blocks|num_layers|stage_num_layers",
            name,
        )
        and "depths" not in override.keep
    ):
        return type(value)(min(v, 2) for v in value)
    if (
        re.fullmatch(r"(num_)?(attention_)?heads|num_attention_heads(_per_stage)?|num_heads", name)
        and "heads" not in override.keep
    ):
        return type(value)(min(v, 1 << (i if i < 3 else 2)) for i, v in enumerate(value))
    if re.fullmatch(r"(vision_|vit_)?feature_layers?|vit_layers", name):
        return type(value)(max(v, -2) if v < 0 else min(v, 1) for v in value)
    if re.fullmatch(r"image_size|img_size|spatial_size", name) and "image" not in override.keep:
        patch = vars(plain).get("patch_size", 16)
        patch = patch[0] if isinstance(patch, list | tuple) else patch
        return type(value)(min(v, _image(patch)) for v in value)
    return value


def _capped(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    return value if rule.to is None else min(value, rule.to)


#: Sides of a window, in patches, that do not fit into the 4 of a map that keeps its size.
FLAT_WINDOW = 3


def _window(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """Stage models halve the map of patches from stage to stage, and a window must fit the last.

    Windows that do not fit a map of 4 x 4 are what others have: SAM's of 14 do not fit 64 x 64.
    """
    if _has_stages(plain):
        return _capped(rule, name, value, plain)
    return min(value, FLAT_WINDOW) if {"image_size", "patch_size"} <= vars(plain).keys() else value


def _image(patch: Any) -> int:
    """The smallest image of at least 4 x 4 patches that hierarchical models can halve to 32."""
    if not isinstance(patch, int) or patch < 1:
        return 64
    if patch <= 16 and 64 % patch == 0:
        return 64
    return patch * 4


def _image_size(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    return value if value <= 32 else min(value, _image(vars(plain).get("patch_size", 16)))


def _heads(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    power = 1
    while power * 2 <= min(value, rule.to or 4):
        power *= 2
    return power


def _kv_heads(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """Equal to the heads stays equal, one stays one, grouped stays grouped."""
    heads = next(
        (
            vars(plain)[key]
            for key in (
                name.replace("key_value", "attention"),
                "num_attention_heads",
                "n_head",
                "num_heads",
            )
            if key != name and isinstance(vars(plain).get(key), int)
        ),
        None,
    )
    if heads is not None and value == heads:
        return _heads(ShrinkRule("heads", rule.pattern, 4), name, value, plain)
    return min(value, 2)


def _hidden(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    if name == "embed_dim" and _has_stages(plain):
        return min(value, 16)
    if value <= (rule.to or 64):
        return value
    if name == "hidden_size" and _is_staged(plain):
        return 16
    return rule.to or 64


def _fit_width(head_dim: int, plain: Config) -> int:
    """Attention that is wider or narrower than the hidden state stays so, by a factor of two."""
    heads, hidden = _field(plain, "num_attention_heads"), _field(plain, "hidden_size")
    if not isinstance(heads, int) or not isinstance(hidden, int):
        return head_dim
    width = heads * int(_field(plain, "head_dim"))
    return head_dim * 2 if width > hidden else head_dim // 2 if width < hidden else head_dim


def _is_staged(plain: Config) -> bool:
    """Stage models double their width from stage to stage (swin and its kin)."""
    return _has_stages(plain) and not isinstance(vars(plain).get("hidden_sizes"), list | tuple)


def _has_stages(plain: Config) -> bool:
    return isinstance(vars(plain).get("depths"), list | tuple)


def _kept(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    return value


def _positions(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """Learned tables shrink; rotary ones cost nothing, and their scaling needs the true length."""
    if {"rope_parameters", "rope_theta"} & vars(plain).keys():
        return value
    return min(value, rule.to or 128)


def _doubled(rule: ShrinkRule, name: str, value: int, plain: Config) -> int:
    """The first width of a codec that doubles it with every ratio: the last width stays small."""
    tables = (vars(plain).get(key) for key in ("downsampling_ratios", "upsampling_ratios"))
    ratios = next((table for table in tables if isinstance(table, list | tuple)), ())
    return min(value, max(2, (rule.to or 64) >> len(ratios)))


_SCALARS: Mapping[str, Callable[[ShrinkRule, str, int, Config], int]] = {
    "keep": _kept,
    "image": _image_size,
    "heads": _heads,
    "kv_heads": _kv_heads,
    "hidden": _hidden,
    "window": _window,
    "patch": _kept,
    "positions": _positions,
    "doubled": _doubled,
}


def _fit_outputs(config: Config, plain: Config, forced: Mapping[str, Any]) -> None:
    """A backbone keeps its number of outputs: the same stages, or the last ones of fewer."""
    wanted = vars(plain).get("_out_indices")
    names, before = vars(config).get("stage_names"), vars(plain).get("stage_names")
    if not wanted or not names or not before or {"out_features", "out_indices"} & forced.keys():
        return
    if len(names) < len(before):
        wanted = range(len(names) - len(wanted), len(names))
    config.out_indices = list(wanted)


def _field(config: Config, name: str) -> Any:
    """A field by its usual name or by the class's own; None where layers differ in it."""
    own = getattr(type(config), "attribute_map", {}).get(name, name)
    return vars(config).get(own, vars(config).get(name))


def _fill_absent(config: Config) -> None:
    """Numbers that a config leaves None although its layers compute with them."""
    fields = vars(config)
    heads, hidden = _field(config, "num_attention_heads"), _field(config, "hidden_size")
    if fields.get("head_dim", 0) is None and isinstance(heads, int) and isinstance(hidden, int):
        config.head_dim = hidden // heads
    if fields.get("num_key_value_heads", 0) is None and isinstance(heads, int):
        config.num_key_value_heads = heads
    if fields.get("num_experts_per_tok", 0) is None:
        config.num_experts_per_tok = 2
    if fields.get("vocab_size", 0) is None:
        config.vocab_size = VOCABULARY
    sliding = "sliding_attention" in (fields.get("layer_types") or ())
    if sliding and fields.get("sliding_window", 0) is None:
        config.sliding_window = 8


def _fit_rope(config: Config, forced: Mapping[str, Any]) -> None:
    """Rescales `mrope_section` to half the rotated width, which the small heads have changed."""
    if "rope_parameters" in forced:
        return
    heads = _field(config, "num_attention_heads")
    hidden = _field(config, "hidden_size")
    width = vars(config).get("head_dim") or (
        hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None
    )
    if not isinstance(width, int):
        return
    own: type = type(config)
    source = _modeling_source(own)
    if "mrope_section" in source:
        # The modeling code may have sections of its own, for the full-sized heads: say ours.
        default = re.search(r'"mrope_section", \[([\d, ]+)\]', source)
        sections = [int(n) for n in default[1].split(",")] if default else [2, 3, 3]
        rope = vars(config).get("rope_parameters")
        if isinstance(rope, dict) and "rope_theta" in rope:
            rope.setdefault("mrope_section", sections)
        elif vars(config).get("rope_theta") and vars(config).get("rope_scaling", 0) is None:
            # Before transformers 5 the base stood beside the sections.
            config.rope_scaling = {"rope_type": "default", "mrope_section": sections}
    for key in ("rope_parameters", "rope_scaling"):
        rope = vars(config).get(key)
        for table in [rope, *(rope.values() if isinstance(rope, dict) else ())]:
            if isinstance(table, dict) and isinstance(table.get("mrope_section"), list | tuple):
                share = float(
                    table.get("partial_rotary_factor")
                    or getattr(config, "partial_rotary_factor", None)
                    or 1.0
                )
                table["mrope_section"] = scaled_sections(
                    table["mrope_section"], int(width * share) // 2
                )


def _fit_images(config: Config, forced: Mapping[str, Any]) -> None:
    """Counts that a composite config makes of its vision config's image, for the small image."""
    vision = vars(config).get("vision_config") or vars(config).get("vision_tower_config")
    size, patch = (
        vars(vision).get(name) if vision else None for name in ("image_size", "patch_size")
    )
    if not isinstance(size, int):
        return
    fits: dict[str, Any] = {
        "image_grid_pinpoints": [[size, 2 * size], [2 * size, size], [2 * size, 2 * size]]
    }
    if (
        isinstance(patch, int)
        and (config.__dict__.get("mm_tokens_per_image") or 0) > (size // patch) ** 2
    ):
        fits["mm_tokens_per_image"] = max(1, size // patch // 2) ** 2
    for name, value in fits.items():
        if vars(config).get(name) and name not in forced:
            setattr(config, name, value)


def _fit_maps(config: Config, plain: Config, forced: Mapping[str, Any]) -> None:
    """Sizes of a backbone's feature maps shrink as its image does."""
    small, large = (vars(c).get("backbone_config") for c in (config, plain))
    sizes = vars(plain).get("backbone_feature_sizes")
    if not sizes or "backbone_feature_sizes" in forced or small is None or large is None:
        return
    pixels = [vars(c).get("image_size") for c in (small, large)]
    to, of = (p[0] if isinstance(p, list | tuple) else p for p in pixels)
    if isinstance(to, int) and isinstance(of, int):
        config.backbone_feature_sizes = [[side * to // of for side in map_] for map_ in sizes]


@cache
def _modeling_source(cls: Any) -> str:
    """The text of the modeling file beside a config class's own file."""
    path = Path(inspect.getfile(cls))
    modeling = path.with_name(path.name.replace("configuration_", "modeling_"))
    return modeling.read_text(encoding="utf-8") if modeling.exists() else ""


def scaled_sections(sections: list[int] | tuple[int, ...], total: int) -> list[int]:
    """Sections in the same proportions that sum to `total`, none of them zero."""
    whole = sum(sections) or 1
    small = [max(1, s * total // whole) if s else 0 for s in sections]
    small[-1] += max(0, total - sum(small))
    while sum(small) > total:  # small sections were rounded up to one
        small[small.index(max(small))] -= 1
    return small


def tiny_config(cls: type, given: Mapping[str, Any] | None = None, model: str = "") -> Config:
    """A small config of a class, with the rows of `overrides.toml` that concern it.

    Args:
        cls: the config class.
        given: arguments that differ from the class's defaults.
        model: the name of the model class that is built from it; it may have a row of its own.
    """
    return Shrinker(cls, model).shrink(cls, given)
