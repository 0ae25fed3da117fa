"""The sizes of images, videos and sounds that a model takes."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import Any

import numpy as np

from harness.contract import Array
from harness.inputs.config_reader import FIELDS, ConfigReader


class MediaReader(ConfigReader):
    """Finds the sizes of images, videos and sounds."""

    @cached_property
    def channels(self) -> int:
        """Colour channels of an image."""
        for name in FIELDS["channels"]:
            for config in (self.vision, *self.configs()):
                value = getattr(config, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 16:
                    return value
        return 3

    def side(self) -> tuple[int, int]:
        """Height and width of an image, as the variant wants it."""
        height, width = self.resized(self._configured_side())
        return self.less("image", height, self.patch), width

    def _configured_side(self) -> tuple[int, int]:
        wanted = self.recipe.options.get("side")
        if wanted:
            return int(wanted), int(wanted)
        size = self.find(*FIELDS["side"], within=self.vision)
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
    def temporal_patch(self) -> int:
        """Frames that one patch spans."""
        return int(self.find("temporal_patch_size", within=self.vision) or 1)

    @cached_property
    def merge(self) -> int:
        """Side of the square of patches that becomes one token."""
        value = self.find(*FIELDS["merge"], within=self.vision) or 1
        if isinstance(value, list | tuple):
            value = value[0]
        return max(1, int(value)) if value >= 1 else 2

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of patches of one image."""
        side = self.merge * max(1, 4 // self.merge)
        return (1, side, 2 * side if self.variant == "other-size" else side)

    def grids(self) -> Array:
        """The grid of each image, int64 (images, 3)."""
        return np.array([self.grid] * self.batch, dtype=np.int64)

    @cached_property
    def video_grid(self) -> tuple[int, int, int]:
        """Steps in time, rows and columns of patches of one video."""
        return 3, *self.grid[1:]

    def flat_patches(self, name: str, grid: tuple[int, int, int] | None = None) -> Array:
        """Patches of all images in a row, as the layer that embeds them reads them.

        Args:
            name: of the argument.
            grid: of one image or video; that of an image, if left out.
        """
        count = self.batch * math.prod(grid or self.grid)
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
    def mels(self) -> int:
        """Bands of a spectrum."""
        wanted = self.recipe.options.get("mels")
        if wanted is not None:
            return int(wanted)
        for config in (self.audio, *self.configs()):
            for name in FIELDS["mels"]:
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
        hop = self.hop
        size = int(self.recipe.options.get("samples") or hop * max(2, math.ceil(1600 / hop)))
        return self.less("sound", size, hop)

    @cached_property
    def hop(self) -> int:
        """Samples between two frames of a codec; 1 where the config knows none.

        Mimi joins several hops into one frame. Plain inputs have less than one of those, since no
        exporter to ONNX takes more; the variants with less sound have two and one.
        """
        names = ("frame_size", "hop_length") if self.masked == "sound" else ("hop_length",)
        for config in self.configs():
            for name in names:
                value = getattr(config, name, None)
                if isinstance(value, int) and value > 1:
                    return value
        return 1

    @cached_property
    def mel_frames(self) -> int:
        """Frames of a spectrum: as many as the positions ask for, in whole windows."""
        window = 2 * int(self.find("n_window", default=1))
        wanted = self.recipe.options.get("frames")
        if wanted is not None:
            return self.less("sound", int(wanted), window)
        positions = self.find("max_source_positions", within=self.audio)
        frames = 2 * (positions or 32) if self.mels_first else 64
        return self.less("sound", math.ceil(frames / window) * window, window)


def _read_width(module: Any) -> int | None:
    """How wide an input a leaf layer reads: of a linear map, a norm or a 1-D convolution."""
    if type(module).__name__.endswith("Conv1d") and hasattr(module, "in_channels"):
        return int(module.in_channels)
    if hasattr(module, "in_features"):
        return int(module.in_features)
    shape = getattr(module, "normalized_shape", None)
    return int(shape[-1]) if shape else None
