"""Small values of lists of numbers: widths, depths and heads of stages, sides of images."""

from __future__ import annotations

import re
from typing import Any

from harness.models.shrink.configs import Config, all_fields
from harness.models.shrink.scalars import image_side

MAX_CHANNELS = 128

_CHANNELS = re.compile(
    r"hidden_sizes|embed_dims?|(stage_|layer_list_|head_|block_)?(in|mid|out)_channels|stem_channels|conv_dim"
    r"|stage_(in|mid|out)_channels|neck_hidden_sizes|encoder_hidden_sizes|widths|channels"
    r"|encoder_in_channels|base_attn_unit_dims|decoder_hidden_size|d_model_list"
    r"|backbone_channels|vision_features_channels|backbone_channel_list|channel_list"
    r"|enc_channels|bridge_connector|.*_channels_list|.*conv_channel(s|_size)|intermediate_feature_dims"
    r"|scaled_images_feature_dims|(fusion|convstream)_hidden_sizes|embed_dim_per_stage|tdnn_dim"
    r"|mask_feature_channels|downsample_channels|fpn_hidden_sizes|layer_out_channels|hidden_dims"
)

DEPTHS = re.compile(
    r"depths|(stage_)?num_blocks|num_block_repeats|layers|depth|blocks_per_stage|block_sizes"
    r"|stage_numb_of_layers|layers_per_block|n_attn_blocks|(stage_)?num_layers"
)

_HEADS = re.compile(r"(num_)?(attention_)?heads|num_attention_heads_per_stage")

#: Lists of the layers of an encoder whose outputs are read, as LLaVA's `vision_feature_layer`.
_FEATURE_LAYERS = re.compile(r"(vision_|vit_)?feature_layers?|vit_layers")

_SIDES = re.compile(r"image_size|img_size|spatial_size")

#: Lists with one entry for each residual block of a vocoder (UnivNet), all as long as each other.
_RESBLOCKS = re.compile(r"(.*_)?resblock_(kernel|stride|dilation)_sizes")

#: Lists of widths that other fields give as one number.
_WIDTHS = re.compile(r"decoder_in_channels|moe_intermediate_size|downsample_channels")


def channel_divisor(plain: Config) -> int:
    """One power of two for all channel lists of a config, so that what fits keeps fitting."""
    largest, smallest = 0, 10**9
    for name, value in all_fields(plain):
        if isinstance(value, list | tuple) and value and _CHANNELS.fullmatch(name):
            numbers = [v for v in value if isinstance(v, int) and not isinstance(v, bool) and v > 4]
            if len(numbers):
                largest, smallest = max(largest, *numbers), min(smallest, *numbers)
    divisor = 1
    while largest // divisor > MAX_CHANNELS and (smallest // (divisor * 2)) >= 4 and divisor < 64:
        divisor *= 2
    return divisor


def small_list(name: str, value: list[Any] | tuple[Any, ...], plain: Config, divisor: int) -> Any:
    """The small value of a list, by the field's name; a list of anything but integers stays.

    Args:
        name: of the field.
        value: the unshrunk list.
        plain: the unshrunk config.
        divisor: of channels.
    """
    if _RESBLOCKS.fullmatch(name):
        return value[:2]
    if not value or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        return value
    small: list[int] | None = None
    if _WIDTHS.fullmatch(name):
        small = [min(v, 64) for v in value]
    elif _CHANNELS.fullmatch(name):
        small = [max(1, v // divisor) if v > 4 else v for v in value]
    elif DEPTHS.fullmatch(name):
        small = [min(v, 2) for v in value]
    elif _HEADS.fullmatch(name):
        small = [min(v, 1 << min(i, 2)) for i, v in enumerate(value)]
    elif _FEATURE_LAYERS.fullmatch(name):
        small = [max(v, -2) if v < 0 else min(v, 1) for v in value]
    elif _SIDES.fullmatch(name):
        patch = vars(plain).get("patch_size", 16)
        side = image_side(patch[0] if isinstance(patch, list | tuple) else patch)
        small = [min(v, side) for v in value]
    return value if small is None else type(value)(small)
