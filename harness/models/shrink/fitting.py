"""Fields that must agree with others of the small config, set where shrinking parted them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from harness.models.shrink.configs import Config, field_of
from harness.models.shrink.tokens import VOCABULARY


def fit_head_dim(arguments: dict[str, Any], cls: type, given: Iterable[str], plain: Config) -> None:
    """Keeps attention wider or narrower than the hidden state, by a factor of two.

    Mistral Nemo's heads, 32 of 128, are narrower than its hidden state of 5120, for instance. Only
    for what an entry says of itself: two parts of a composite may have to agree on it.

    Args:
        arguments: of the small config; changed in place.
        cls: the config class.
        given: names of the fields that the entry declares.
        plain: the unshrunk config.
    """
    own = getattr(cls, "attribute_map", {})
    head_dim, *others = (own.get(n, n) for n in ("head_dim", "num_attention_heads", "hidden_size"))
    heads, hidden = field_of(plain, "num_attention_heads"), field_of(plain, "hidden_size")
    if head_dim not in arguments or not {head_dim, *others} & set(given):
        return
    if isinstance(heads, int) and isinstance(hidden, int):
        width = heads * int(field_of(plain, "head_dim"))
        if width > hidden:
            arguments[head_dim] *= 2
        elif width < hidden:
            arguments[head_dim] //= 2


def fill_absent(config: Config) -> None:
    """Numbers that a config leaves None although its layers compute with them."""
    fields = vars(config)
    heads, hidden = field_of(config, "num_attention_heads"), field_of(config, "hidden_size")
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


def fit(config: Config, plain: Config, forced: Collection[str]) -> None:
    """Makes a config's outputs, image tokens and feature maps agree with its small parts.

    Args:
        config: changed in place.
        plain: the unshrunk config.
        forced: fields that an override sets.
    """
    fit_outputs(config, plain, forced)
    _fit_images(config, forced)
    _fit_maps(config, plain, forced)


def fit_outputs(config: Config, plain: Config, forced: Collection[str]) -> None:
    """A backbone keeps its number of outputs: the same stages, or the last ones of fewer."""
    wanted = vars(plain).get("_out_indices")
    names, before = vars(config).get("stage_names"), vars(plain).get("stage_names")
    if not wanted or not names or not before or {"out_features", "out_indices"} & set(forced):
        return
    if len(names) < len(before):
        wanted = range(len(names) - len(wanted), len(names))
    config.out_indices = list(wanted)


def _fit_images(config: Config, forced: Collection[str]) -> None:
    """Tiles and tokens that a composite (LLaVA-NeXT) makes of an image fit the small image."""
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
        and (vars(config).get("mm_tokens_per_image") or 0) > (size // patch) ** 2
    ):
        fits["mm_tokens_per_image"] = max(1, size // patch // 2) ** 2
    for name, value in fits.items():
        if vars(config).get(name) and name not in forced:
            setattr(config, name, value)


def _fit_maps(config: Config, plain: Config, forced: Collection[str]) -> None:
    """Sizes of a backbone's feature maps (SAM 2) shrink as its image does."""
    small, large = (vars(c).get("backbone_config") for c in (config, plain))
    sizes = vars(plain).get("backbone_feature_sizes")
    if not sizes or "backbone_feature_sizes" in forced or small is None or large is None:
        return
    pixels = [vars(c).get("image_size") for c in (small, large)]
    to, of = (p[0] if isinstance(p, list | tuple) else p for p in pixels)
    if isinstance(to, int) and isinstance(of, int):
        config.backbone_feature_sizes = [[side * to // of for side in map_] for map_ in sizes]
