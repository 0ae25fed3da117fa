"""Mock models, tokenizers, processors and pipelines, called as transformers' own are.

A mock model's outputs are smooth functions of every element of every input, so that what the
harness checks holds: each modality counts, a causal position sees no later token, the rows of a
batch are independent of each other, and a masked token counts for nothing wherever it stands.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import Array, Arrays, is_floating
from harness.toolkit.padded_inputs import MASK, PER_TOKEN, TEXT
from harness.toolkit.seeded_values import uniform
from harness.toolkit.signature import BATCHES, LENGTHS, Signature, Spec, parse

#: How many numbers each weight of a mock model has.
WIDTH = 8

#: Token ids are this much smaller as numbers than as ids, so that all inputs are of order 1.
TOKEN_SCALE = 0.05

#: The targets of a decoder: it never sees a later one.
TARGETS = frozenset({"decoder_input_ids"})

DEFAULT_DTYPE = "float32"


class MockModel:
    """The recorded signature of one model, with a small seeded function behind it.

    Args:
        config: names, dtypes and shapes.
        seed: of the weights.
        causal: whether no position sees a later one of `input_ids`.
    """

    def __init__(self, config: Signature, seed: int = 0, *, causal: bool = False) -> None:
        self.config = config
        self.seed = seed
        self.causal = causal
        self.dtype = DEFAULT_DTYPE
        self._sizes: dict[tuple[tuple[int, ...], ...], tuple[int, int, int]] = {}  # by shapes
        self.main_input_name = next(iter(config.inputs))
        self.weights: Arrays = {
            name: uniform(seed, f"{config.label}/{name}", (WIDTH,)).astype(np.float64)
            for name in ("read", "mix", "write")
        }

    def to(self, dtype: str) -> MockModel:
        """The same model, computing in another dtype from now on."""
        self.dtype = dtype
        return self

    def num_parameters(self) -> int:
        """The real model's number of parameters."""
        return self.config.parameters

    def __call__(self, **inputs: Array) -> Arrays:
        """Same as `forward`."""
        return self.forward(**inputs)

    def forward(self, **inputs: Array) -> Arrays:
        """Outputs by name.

        Args:
            inputs: arrays by the real model's argument names, in one of its two recorded shapes,
                or with a shorter text than in the first.

        Raises:
            TypeError: an argument that the real model does not have, or a missing one.
            ValueError: a shape that does not follow from what was recorded.
        """
        sizes = self.sizes(inputs)
        batch = sizes[0]
        text = Text(inputs)
        # numpy has no bfloat16.
        kind = np.dtype(DEFAULT_DTYPE if self.dtype == "bfloat16" else self.dtype)
        # Weights and outputs are rounded to the dtype and nothing else is, so that the noise of
        # all inputs is alike.
        weights = {name: array.astype(kind).astype(float) for name, array in self.weights.items()}
        state = np.zeros(batch)
        sequences = []
        for phase, (name, array) in enumerate(sorted(inputs.items())):
            values = text.first(name, array * (1.0 if is_floating(array) else TOKEN_SCALE))
            rows = _rows(values, batch)
            terms = rows * _projection(rows.shape[1])
            if text.has(name):
                # As if what is masked were not there.
                terms *= text.root_share
            if self._is_sequence(name, array, batch):
                steps = terms.reshape(batch, -1, array.shape[-1]).sum(1).cumsum(-1)
                sequences.append(text.back(name, _features(steps, weights, phase)))
            elif array.size and not (name == MASK and text.has(name)):
                state += _features(terms.sum(1), weights, phase)
        return {
            name: _output(spec, spec.at(*sizes), number, state, sequences, text, kind)
            for number, (name, spec) in enumerate(self.config.outputs.items())
        }

    def sizes(self, inputs: Mapping[str, Array]) -> tuple[int, int, int]:
        """Batch, length of the text, and length of the text to be written.

        Raises:
            TypeError: an argument that the real model does not have, or a missing one.
            ValueError: shapes that do not follow from what was recorded.
        """
        wanted = self.config.inputs
        if inputs.keys() != wanted.keys():
            raise TypeError(
                f"{self.config.model}.forward() takes {sorted(wanted)}; found {sorted(inputs)}"
            )
        shapes = {name: array.shape for name, array in inputs.items()}
        key = tuple(shapes[name] for name in wanted)
        if key not in self._sizes:
            self._sizes[key] = self._matching(shapes)
        return self._sizes[key]

    def _matching(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int]:
        """The sizes at which the recorded shapes are these.

        Raises:
            ValueError: there are none.
        """
        wanted = self.config.inputs
        (batch, length), pairs = (BATCHES[0], LENGTHS[0]), zip(BATCHES, LENGTHS, strict=True)
        known = [(b, s, s // 2) for b, s in pairs]
        for sizes in known + [(batch, shorter, length // 2) for shorter in range(1, length)]:
            with contextlib.suppress(ValueError):  # a dimension that is recorded as two numbers
                for spec in self.config.outputs.values():
                    spec.at(*sizes)
                if shapes == {name: spec.at(*sizes) for name, spec in wanted.items()}:
                    return sizes
        raise ValueError(f"expected the shapes of {self.config}; found {shapes}")

    def _is_sequence(self, name: str, array: Array, batch: int) -> bool:
        """Whether an output at a position sees the earlier elements of this input only."""
        causal = name in TARGETS or (self.causal and name == "input_ids")
        return causal and array.ndim == 2 and array.shape[0] % batch == 0

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the signature and the weights to a folder."""
        path = Path(save_directory)
        path.mkdir(parents=True, exist_ok=True)
        config = {"signature": str(self.config), "seed": self.seed, "causal": self.causal}
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        weights = {name: array.tolist() for name, array in self.weights.items()}
        (path / "model.json").write_text(json.dumps(weights), encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, dtype: str = DEFAULT_DTYPE
    ) -> MockModel:
        """The model that `save_pretrained` wrote."""
        path = Path(pretrained_model_name_or_path)
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        model = cls(parse(config["signature"]), config["seed"], causal=config["causal"])
        held = json.loads((path / "model.json").read_text(encoding="utf-8"))
        model.weights = {name: np.array(values) for name, values in held.items()}
        return model.to(dtype)


@lru_cache
def _projection(size: int) -> Array:
    """Weights of a sum over `size` elements: none of them zero, their signs alternating."""
    steps = np.arange(size)
    return np.asarray((0.5 + steps % 7) * (1 - 2 * (steps % 2)) / math.sqrt(5 * size))


class Text:
    """Layout of padded text: which tokens of each row are real, and where they stand."""

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        shape = next((inputs[name].shape[:2] for name in TEXT if name in inputs), None)
        mask = inputs.get(MASK)
        self.mask = mask != 0 if mask is not None and mask.shape == shape else None
        if self.mask is not None:
            self.names = {n for n in PER_TOKEN if n in inputs and inputs[n].shape[:2] == shape}
            self.order = np.argsort(~self.mask, axis=1, kind="stable")
            self.positions = np.argsort(self.order, axis=1)
            # A projection of so many tokens is divided by the root of their number.
            share = self.mask.mean(1, keepdims=True)
            self.root_share = 1 / np.sqrt(np.where(share, share, 1.0))

    def has(self, name: str) -> bool:
        """Whether an argument has a value for each token, and a mask says which are real."""
        return self.mask is not None and name in self.names

    def first(self, name: str, values: Array) -> Array:
        """An argument with its real tokens first in each row, and zeros after them."""
        if self.mask is None or name not in self.names:
            return values
        further = (..., *[None] * (values.ndim - 2))
        kept = values * self.mask[further]
        return np.take_along_axis(kept, self.order[further], axis=1)

    def back(self, name: str, steps: Array) -> Array:
        """The inverse permutation of `first`: each step in its own place again."""
        if not self.has(name):
            return steps
        return np.take_along_axis(steps, self.positions, axis=1)


@lru_cache
def _wave(shape: tuple[int, ...], dims: tuple[str, ...], number: int, batch: int) -> Array:
    """Phases by which the elements of an output differ from each other, except along tokens."""
    angles = np.full(shape, float(number))
    for axis, (size, dim) in enumerate(zip(shape, dims, strict=True)):
        if "s" not in dim:
            steps = np.arange(size) % (size // batch if axis == 0 and size % batch == 0 else size)
            angles += (0.37 * steps / (1 + axis)).reshape(-1, *[1] * (len(shape) - 1 - axis))
    return angles


@lru_cache
def _waves(shape: tuple[int, ...], dims: tuple[str, ...], number: int, batch: int) -> Array:
    """The sines of these phases."""
    return np.asarray(np.sin(_wave(shape, dims, number, batch)))


def _rows(values: Array, batch: int) -> Array:
    """The values of each row of the batch, flat; all values where the array has no batch."""
    if values.ndim and values.shape[0] % batch == 0:
        return values.reshape(batch, -1)
    return np.broadcast_to(values.reshape(1, -1), (batch, values.size))


def _features(signal: Array, weights: Arrays, phase: int) -> Array:
    """A smooth function of each element of a signal."""
    angles = signal[..., None] * (1 + weights["read"]) + weights["mix"] + phase
    return np.asarray(np.sin(angles) @ weights["write"])


def _output(
    spec: Spec,
    shape: tuple[int, ...],
    number: int,
    state: Array,
    sequences: Sequence[Array],
    text: Text,
    kind: np.dtype[Any],
) -> Array:
    """One output in its recorded shape and dtype.

    Args:
        spec: whose dtype counts, where it is no floating one.
        shape: of the output.
        number: which output it is.
        state: what each row of the batch says as a whole.
        sequences: what each row says up to each position.
        text: where each row's tokens stand.
        kind: the dtype that the model computes in.
    """
    batch = len(state)
    total = state[:, None]
    for sequence in sequences:
        aligned = len(shape) >= 2 and shape[:2] == sequence.shape
        total = total + (sequence if aligned else sequence[:, -1:])
    if shape and shape[0] % batch == 0:
        total = np.repeat(np.sin(total), shape[0] // batch, axis=0)
        total = total.reshape(*total.shape, *[1] * (len(shape) - 2))
        total = total if len(shape) > 1 else total[:, 0]
    else:
        total = np.asarray(np.sin(total).mean())
    waves = _waves(shape, spec.dims, number, batch)
    follows = len(shape) > 1 and spec.dims[1].startswith("s")
    if follows and text.mask is not None and shape[:2] == text.mask.shape:
        angles = _wave(shape, spec.dims, number, batch)
        waves = np.sin(angles + text.positions.reshape(*shape[:2], *[1] * (len(shape) - 2)))
    values = np.asarray(waves + total)
    if spec.dtype.startswith("float"):
        return values.astype(kind if kind == np.float64 else spec.dtype)
    if spec.dtype == "bool":
        return np.asarray(values > 0)
    return np.asarray(np.floor(3 * (values + 2)).astype(spec.dtype))


class MockTokenizer:
    """Words to ids, as a tokenizer's `__call__` does; an id follows from its word alone."""

    def __init__(self, config: Signature) -> None:
        spec = config.inputs.get("input_ids")
        self.model_max_length = spec.shape()[-1] if spec is not None and spec.dims else 16

    def __call__(self, text: str | Sequence[str], *, return_tensors: str = "np") -> Arrays:
        """`input_ids` and `attention_mask`, int64 (batch, length), padded to one length."""
        _check_tensors(return_tensors)
        rows = [text] if isinstance(text, str) else list(text)
        ids = np.ones((len(rows), self.model_max_length), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            codes = [3 + sum(word.encode()) % 93 for word in row.split()][: ids.shape[1]]
            ids[i, : len(codes)] = codes
            mask[i, : len(codes)] = 1
        return {"input_ids": ids, "attention_mask": mask}


class MockProcessor:
    """Images and sounds to arrays, as a processor's `__call__` does."""

    def __init__(self, config: Signature) -> None:
        self.config = config

    def __call__(
        self,
        images: Array | None = None,
        audio: Array | None = None,
        *,
        return_tensors: str = "np",
    ) -> Arrays:
        """Every floating input of the model, filled from the medium's values."""
        _check_tensors(return_tensors)
        media = images if images is not None else audio
        if media is None:
            return {}
        return {
            name: np.resize(media, spec.shape()).astype(spec.dtype)
            for name, spec in self.config.inputs.items()
            if spec.dtype.startswith("float")
        }


def _check_tensors(return_tensors: str) -> None:
    if return_tensors != "np":
        raise ValueError(f"expected return_tensors='np', found {return_tensors!r}")


class MockPipeline:
    """Raw input to outputs: preprocess, then the model, as `transformers.pipeline` returns it."""

    def __init__(
        self, task: str, model: MockModel, tokenizer: MockTokenizer, processor: MockProcessor
    ) -> None:
        self.task = task
        self.model = model
        self.tokenizer = tokenizer
        self.processor = processor

    def preprocess(self, raw: Mapping[str, Any]) -> Arrays:
        """The model's arrays for its `text` and its `images` or `audio`; ones for what is left."""
        found = self.tokenizer(raw["text"])
        found |= self.processor(raw.get("images"), raw.get("audio"))
        made: Arrays = {}
        for name, spec in self.model.config.inputs.items():
            array = found.get(name)
            if array is None or array.shape != spec.shape():
                array = np.ones(spec.shape())
            made[name] = array.astype(spec.dtype)
        return made

    def __call__(self, raw: Mapping[str, Any]) -> Arrays:
        """Outputs by name."""
        return self.model(**self.preprocess(raw))


def mock_pipeline(
    task: str, model: MockModel, *, tokenizer: MockTokenizer, processor: MockProcessor
) -> MockPipeline:
    """A pipeline, by the arguments of `transformers.pipeline`."""
    return MockPipeline(task, model, tokenizer, processor)


def example(config: Signature) -> dict[str, Any]:
    """Raw text and media that fit a model: a text for each row of its `input_ids`."""
    spec = config.inputs.get("input_ids")
    rows = spec.shape()[0] if spec is not None and spec.dims else 1
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    text = [" ".join(words[i % len(words) :]) for i in range(rows)]
    medium = "audio" if {"input_values", "input_features"} & config.inputs.keys() else "images"
    return {"text": text, medium: np.linspace(-1, 1, 997)}
