"""Example inputs for a model of diffusers, from the signature of its `forward` and its config.

What a model is conditioned on follows from its config: an argument whose function returns None
does not apply to it, an argument that has no function is left to its default.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.inputs.example_values import ExampleValues

#: By the first convolution, where the docstring of forward does not say; without one, an image.
LAYOUTS = {
    "Conv1d": ("batch", "channel", "width"),
    "Conv2d": ("batch", "channel", "height", "width"),
    "Conv3d": ("batch", "channel", "frame", "height", "width"),
}

#: Pixels of a side, and tokens of a row of patches, where the config says none.
SIDE = 8
FRAMES = 2

#: Training steps of a schedule; the ends of it are nearly pure noise and nearly none.
FIRST, LAST = 20, 980


@dataclass(eq=False)
class DenoiserInputs(ExampleValues):
    """Makes one model's inputs; its attributes are what the argument functions ask for.

    Attributes:
        layout: dimensions of the noise, where they are not those of forward's docstring.
        time: the unit of the time; one of `TIMES`.
    """

    layout: tuple[str, ...] = ()
    time: str = "steps"

    def make(self) -> Arrays:
        """The inputs by argument name.

        Raises:
            LookupError: a required argument has no function here.
        """
        made = {}
        for name, parameter in inspect.signature(self.module.forward).parameters.items():
            function = ARGUMENTS.get(name)
            value = function(self) if function is not None else None
            if value is not None:
                made[name] = value
            elif function is None and parameter.default is parameter.empty:
                raise LookupError(
                    f"{self.config.model_type}.forward requires {name!r}, which has no function "
                    f"in ARGUMENTS of harness/inputs/denoiser.py; add one"
                )
        return made

    def get(self, *names: str) -> Any:
        """The first of these fields that the config has."""
        return next((v for n in names if (v := vars(self.config).get(n)) is not None), None)

    def powers(self, name: str, low: int, high: int) -> Array:
        """Powers of two, one for each example.

        In every precision they are exact, and so is a thousand times each of them, which is the
        angle of an embedding's fastest wave.
        """
        return np.exp2(self.ints(name, (self.batch,), low, high)).astype(np.float32)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the noise."""
        size = self.get("sample_size") or SIDE
        height, width = size if isinstance(size, list | tuple) else (size, size)
        sides = self.get("sample_height") or height, self.get("sample_width") or width
        return self.resized(sides)

    @property
    def text_length(self) -> int:
        """Tokens of the text that conditions."""
        return self.less("condition", self.length)

    @property
    def text_widths(self) -> list[int]:
        """The width of each text that a layer attends to; two in a model with two encoders."""
        widths = self.get(
            "encoder_hid_dim",
            "caption_channels",
            "joint_attention_dim",
            "text_dim",
            "text_embed_dim",
            "cross_attention_dim",
        )
        while isinstance(widths, list | tuple) and isinstance(widths[0], list | tuple):
            widths = widths[0]  # by level
        found = widths if isinstance(widths, list | tuple) else [widths]
        return [width for width in found if width is not None]


def shape_of(maker: DenoiserInputs, name: str) -> tuple[int, ...]:
    """The shape of the noise: the dimensions that forward's docstring names, in numbers."""
    layout = maker.layout or documented(maker.module, name) or _convolved(maker.module)
    return tuple(_size(maker, word) for word in layout)


def _convolved(module: Any) -> tuple[str, ...]:
    kinds = [type(m).__name__.removeprefix("Causal") for m in getattr(module, "modules", list)()]
    return LAYOUTS[next((kind for kind in kinds if kind in LAYOUTS), "Conv2d")]


def documented(module: Any, name: str) -> tuple[str, ...]:
    """The dimensions that the docstring of forward names for an argument with channels."""
    text = inspect.getdoc(module.forward) or ""
    entry = re.search(rf"^ *{name} ?\(.*?(?=^ *\w+:? ?\(|\Z)", text, re.MULTILINE | re.DOTALL)
    for shape in re.findall(r"\((batch[^()]*)\)", entry[0] if entry else ""):
        words = tuple(word.strip() for word in shape.split(","))
        if any("channel" in word or "dim" in word for word in words):
            return words
    return ()


def _size(maker: DenoiserInputs, word: str) -> int:
    height, width = maker.sides
    sizes = {
        "batch": maker.batch,
        "channel": maker.get("in_channels"),
        "frame": maker.get("sample_frames", "num_frames") or FRAMES,
        "height": height,
        "width": width,
        "sequence": height,
        "dim": maker.get("in_channels", "embedding_dim"),
    }
    for key, size in sizes.items():
        if key in word and size is not None:
            return int(size)
    raise LookupError(
        f"{maker.config.model_type}.forward documents its noise with the dimension {word!r}, which "
        f"harness/inputs/denoiser.py does not know; give the class a `layout` in "
        f"harness/models/from_diffusers.toml"
    )


# -- one function for each forward argument ------------------------------------------------------

Function = Callable[[DenoiserInputs], "Array | None"]


def _noise(name: str) -> Function:
    return lambda m: m.floats(name, *shape_of(m, name))


#: Units of a timestep: training steps (DDPM), thousandths of a flow (with fractions), the flow.
TIMES: dict[str, Callable[[DenoiserInputs], Array]] = {
    "steps": lambda m: m.ints("timestep", (m.batch,), FIRST, LAST),
    "thousandths": lambda m: 1000 * m.powers("timestep", -6, 0),
    "unit": lambda m: m.powers("timestep", -6, 0),
}


def _timestep(m: DenoiserInputs) -> Array:
    """One for each example."""
    return TIMES[m.time](m)


def _text(number: int) -> Function:
    def make(m: DenoiserInputs) -> Array | None:
        if m.get("encoder_hid_dim_type") == "image_proj" or number >= len(m.text_widths):
            return None
        name = f"encoder_hidden_states/{number}"
        return m.floats(name, m.batch, m.text_length, m.text_widths[number])

    return make


def _text_mask(mask: str, number: int) -> Function:
    """Which tokens are no padding; left out of plain inputs where that means all."""

    def make(m: DenoiserInputs) -> Array | None:
        parameter = inspect.signature(m.module.forward).parameters[mask]
        needed = m.masked == "condition" or parameter.default is parameter.empty
        applies = needed and _text(number)(m) is not None
        if not applies:
            return None
        return m.hidden("condition", np.ones((m.batch, m.text_length), dtype=np.int64), 1)

    return make


def _class_labels(m: DenoiserInputs) -> Array | None:
    if m.get("norm_type") == "ada_norm_zero":
        return m.ints("class_labels", (m.batch,), 0, m.get("num_embeds_ada_norm"))
    if m.get("num_class_embeds"):
        return m.ints("class_labels", (m.batch,), 0, m.get("num_class_embeds"))
    return None


def _pooled_projections(m: DenoiserInputs) -> Array | None:
    width = m.get("pooled_projection_dim")
    return m.floats("pooled_projections", m.batch, width) if width is not None else None


def _guidance(m: DenoiserInputs) -> Array | None:
    return m.powers("guidance", 0, 4) if m.get("guidance_embeds") else None


def _time_ids(m: DenoiserInputs) -> Array | None:
    """Sizes and crops of the training image, in whole latents: original, corner, target."""
    if m.get("addition_embed_type") != "text_time":
        return None
    return (8 * m.ints("time_ids", (m.batch, 6), 0, 128)).astype(np.float32)


def _text_embeds(m: DenoiserInputs) -> Array | None:
    if m.get("addition_embed_type") != "text_time":
        return None
    width = m.get("projection_class_embeddings_input_dim") - 6 * m.get("addition_time_embed_dim")
    return m.floats("text_embeds", m.batch, width)


def _added_time_ids(m: DenoiserInputs) -> Array:
    """Frames a second, how much moves, how much noise the first frame has."""
    count = m.get("projection_class_embeddings_input_dim") // m.get("addition_time_embed_dim")
    return m.ints("added_time_ids", (m.batch, count), 1, 128).astype(np.float32)


def _image_embeds(m: DenoiserInputs) -> Array | None:
    if m.get("addition_embed_type") not in ("image", "image_hint"):
        return None
    return m.floats("image_embeds", m.batch, m.get("encoder_hid_dim"))


def _hint(m: DenoiserInputs) -> Array | None:
    if m.get("addition_embed_type") != "image_hint":
        return None
    return m.floats("hint", m.batch, 3, *(8 * side for side in m.sides))


def _controlnet_cond(m: DenoiserInputs) -> Array:
    """An image, which each width after the first of its encoder halves."""
    widths = m.get("conditioning_embedding_out_channels")
    if widths is None:  # latents
        return m.floats("controlnet_cond", *shape_of(m, "hidden_states"))
    sides = [side * 2 ** (len(widths) - 1) for side in m.sides]
    return m.floats("controlnet_cond", m.batch, m.get("conditioning_channels"), *sides)


def _image_ids(m: DenoiserInputs) -> Array:
    """Index, row and column of each patch, and what further axes the rotary angles have."""
    count = shape_of(m, "hidden_states")[1]
    side = math.isqrt(count)
    ids = np.zeros((count, _axes(m)), dtype=np.float32)
    ids[:, 1], ids[:, 2] = np.arange(count) // side, np.arange(count) % side
    return ids


def _axes(m: DenoiserInputs) -> int:
    return len(m.get("axes_dims_rope") or (0, 0, 0))


ARGUMENTS: dict[str, Function] = {
    "sample": _noise("sample"),
    "hidden_states": _noise("hidden_states"),
    "timestep": _timestep,
    "encoder_hidden_states": _text(0),
    "encoder_hidden_states_1": _text(1),
    "encoder_attention_mask": _text_mask("encoder_attention_mask", 0),
    "encoder_attention_mask_1": _text_mask("encoder_attention_mask_1", 1),
    "encoder_hidden_states_mask": _text_mask("encoder_hidden_states_mask", 0),
    "class_labels": _class_labels,
    "pooled_projections": _pooled_projections,
    "guidance": _guidance,
    "text_embeds": _text_embeds,
    "time_ids": _time_ids,
    "added_time_ids": _added_time_ids,
    "image_embeds": _image_embeds,
    "hint": _hint,
    "controlnet_cond": _controlnet_cond,
    "img_ids": _image_ids,
    "txt_ids": lambda m: np.zeros((m.text_length, _axes(m)), dtype=np.float32),
}
