"""Arguments that are images or videos, and what belongs to them."""

from __future__ import annotations

import math

import numpy as np

from harness.contract import WITH_VIDEO, Array
from harness.inputs.input_maker import Function, InputMaker

#: Patches of an image where the model takes images of any size as rows of patches.
PATCHES = 16


def _pixel_values(m: InputMaker) -> Array:
    height, width = m.side()
    if m.has("image_grid_thw", "grid_thw", "image_grid_hw"):
        return m.flat_patches("pixel_values")
    if m.has("image_position_ids", "pixel_position_ids"):
        return m.floats("pixel_values", m.batch, math.prod(m.grid), m.channels * m.patch**2)
    if m.has("spatial_shapes"):
        return m.floats("pixel_values", m.batch, math.prod(_patch_grid(m)), m.channels * m.patch**2)
    if m.has("aspect_ratio_ids"):
        tiles = int(m.find("max_num_tiles", default=1))
        return m.floats("pixel_values", m.batch, 1, tiles, m.channels, height, width)
    if m.has("target_sizes") and "target_sizes" not in m.recipe.drop:
        # Images of any size in one row of patches.
        return m.floats("pixel_values", 1, m.channels, m.patch, m.patch * m.batch * PATCHES)
    if m.tiles:
        return m.floats("pixel_values", m.batch, m.tiles, m.channels, height, width)
    return m.floats("pixel_values", m.batch, m.channels, height, width)


def _pixel_values_videos(m: InputMaker) -> Array | None:
    if m.variant == WITH_VIDEO:
        if m.has("video_grid_thw"):
            return m.flat_patches("pixel_values_videos", m.video_grid)
        height, width = m.side()
        return m.floats("pixel_values_videos", m.batch, m.frames or 4, m.channels, height, width)
    if "pixel_values" in m.made or ("pixel_values" in m.parameters and "input_ids" in m.parameters):
        return None
    height, width = m.side()
    return m.floats("pixel_values_videos", m.batch, m.frames or 4, m.channels, height, width)


def _hidden_states(m: InputMaker) -> Array:
    if m.has("grid_thw"):
        return m.flat_patches("hidden_states")
    return m.floats(
        "hidden_states",
        m.batch,
        m.length,
        int(m.find("hidden_size", "d_model", "encoder_hidden_size", default=64)),
    )


def _image_sizes(m: InputMaker) -> Array | None:
    if "pixel_values" not in m.made or not m.asks_image_sizes:
        return None
    height, width = m.side()
    if m.find("image_grid_pinpoints"):
        width *= 2
    return np.array([[height, width]] * m.batch, dtype=np.int64)


def _pixel_attention_mask(m: InputMaker) -> Array | None:
    """Which patches or tiles are no padding; left out of plain inputs where that means all."""
    pixels = m.made.get("pixel_values")
    masked = m.masked == "image"
    if masked and pixels is not None and pixels.ndim == 5:
        return m.hidden(
            "image", np.ones((*pixels.shape[:2], *pixels.shape[-2:]), dtype=np.bool_), 2
        )
    needed = masked or m.has("spatial_shapes") or m.extractor_requires("pixel_attention_mask")
    if pixels is None or not needed:
        return None
    return m.hidden("image", np.ones(pixels.shape[:2], dtype=np.bool_), 1)


def _pixel_mask(m: InputMaker) -> Array | None:
    """Which pixels are no padding."""
    pixels = m.made.get("pixel_values")
    if pixels is None:
        return None
    return m.hidden("image", np.ones((len(pixels), *pixels.shape[-2:]), dtype=np.int64), 1)


def _target_sizes(m: InputMaker) -> Array | None:
    """Rows and columns of patches of each image."""
    return np.array([_patch_grid(m)] * m.batch, dtype=np.int64)


def _patch_grid(m: InputMaker) -> tuple[int, int]:
    side = math.isqrt(PATCHES)
    return m.less("image", side), side


def _aspect_ratio_mask(m: InputMaker) -> Array | None:
    return np.ones(m.made["pixel_values"].shape[:3], dtype=np.int64)


def _cross_attention_mask(m: InputMaker) -> Array | None:
    """Every token sees every tile of the image."""
    if "pixel_values" not in m.made or not m.has("aspect_ratio_ids"):
        return None
    return np.ones((m.batch, m.length, *m.made["pixel_values"].shape[1:3]), dtype=np.int64)


def _image_positions(m: InputMaker) -> Array | None:
    """Which positions of the text the image takes, where no token id marks them."""
    if not {"pixel_values", "flattened_patches"} & m.made.keys():
        return None
    mask = np.zeros((m.batch, m.length), dtype=np.int64)
    mask[:, 1 : 1 + m.feature_rows("image")] = 1
    return mask


def _patch_positions(m: InputMaker) -> Array:
    """Column and row of each patch."""
    _, rows, columns = m.grid
    one = [[x, y] for y in range(rows) for x in range(columns)]
    return np.array([one] * m.batch, dtype=np.int64)


def _flattened_patches(m: InputMaker) -> Array:
    """Patches in a row, each after its own row and column in the image, counted from one."""
    side = math.isqrt(PATCHES)
    width = int(m.find("patch_embed_hidden_size", default=m.channels * m.patch**2))
    patches = m.floats("flattened_patches", m.batch, PATCHES, 2 + width)
    patches[..., 0] = 1 + np.arange(PATCHES) // side
    patches[..., 1] = 1 + np.arange(PATCHES) % side
    return patches


def _merge_sizes(m: InputMaker) -> Array | None:
    return np.array([m.merge] * m.batch, dtype=np.int64)


def _image_companion(make: Function) -> Function:
    """An argument that is only passed along with an image."""
    return lambda m: make(m) if "pixel_values" in m.made else None


def _pixels_like(name: str) -> Function:
    """Another image of the size of `pixel_values`."""
    return lambda m: (
        m.floats(name, *m.made["pixel_values"].shape) if "pixel_values" in m.made else None
    )


def _boxes(m: InputMaker) -> Array:
    height, width = m.side()
    return np.array(
        [[[0.1 * width, 0.1 * height, 0.8 * width, 0.7 * height]]] * m.batch, dtype=np.float32
    )


def _points(m: InputMaker) -> Array:
    height, width = m.side()
    return np.array([[[[0.4 * width, 0.6 * height]]]] * m.batch, dtype=np.float32)


def _video_seconds(m: InputMaker) -> Array | None:
    """Seconds between two steps in time of each video."""
    return np.full(m.batch, 0.5, dtype=np.float32) if "pixel_values_videos" in m.made else None


ARGUMENTS: dict[str, Function] = {
    "pixel_values": _pixel_values,
    "pixel_values_videos": _pixel_values_videos,
    "hidden_states": _hidden_states,
    "video_grid_thw": lambda m: np.array([m.video_grid] * m.batch, dtype=np.int64),
    "second_per_grid_ts": _video_seconds,
    "video_second_per_grid": _video_seconds,
    "input_labels": lambda m: (
        np.ones(m.made["input_points"].shape[:-1], dtype=np.int64)
        if "input_points" in m.made
        else None
    ),
    "visual_attention_mask": lambda m: (
        np.ones(m.made["visual_feats"].shape[:2], dtype=np.int64)
        if "visual_feats" in m.made
        else None
    ),
    "grid_thw": InputMaker.grids,
    "image_grid_thw": InputMaker.grids,
    "image_sizes": _image_sizes,
    "input_boxes": _boxes,
    "input_points": _points,
    "noise": lambda m: m.floats("noise", m.batch, math.prod(n // m.patch for n in m.side())),
    "spatial_shapes": _image_companion(_target_sizes),
    "pixel_mask": _pixel_mask,
    "pixel_attention_mask": _pixel_attention_mask,
    "merge_sizes": _merge_sizes,
    "image_grid_hw": lambda m: m.grids()[:, 1:],
    "flattened_patches": _flattened_patches,
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
    "image_merge_sizes": _image_companion(_merge_sizes),
    "prompt_pixel_values": _pixels_like("prompt_pixel_values"),
    "prompt_masks": _pixels_like("prompt_masks"),
}
