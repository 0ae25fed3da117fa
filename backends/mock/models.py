"""Mock models, tokenizers, processors and pipelines, called as transformers' own are.

A mock model's outputs are smooth functions of every input and of every token before a position, so
that it is causal, sees all its modalities, and is deterministic: what the harness checks holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import signature, weights
from harness.contract import Array, Arrays, is_floating

WIDTH = 8


class MockModel:
    """The recorded signature of one model, with a small seeded function behind it.

    Args:
        line: names, dtypes and shapes.
        seed: of the weights.
    """

    def __init__(self, line: signature.Signature, seed: int = 0) -> None:
        self.line = line
        self.seed = seed
        self.main_input_name = next(iter(line.inputs))
        self.weights: dict[str, Array] = {
            name: weights.uniform(seed, f"{line.entry}/{name}", (WIDTH,)).astype(np.float64)
            for name in ("read", "mix", "write")
        }

    def __call__(self, dtype: str = "float32", **inputs: Array) -> Arrays:
        """Same as `forward`."""
        return self.forward(dtype, **inputs)

    def forward(self, dtype: str = "float32", **inputs: Array) -> Arrays:
        """Outputs by name.

        Args:
            dtype: numpy's name of the dtype to compute in.
            inputs: arrays by the real model's argument names.

        Raises:
            TypeError: an argument that the real model does not have, or a missing one.
        """
        unknown, missing = inputs.keys() - self.line.inputs.keys(), self.line.inputs.keys() - inputs
        if unknown or missing:
            raise TypeError(
                f"{self.line.model}.forward() takes {sorted(self.line.inputs)}; "
                f"found {sorted(inputs)}"
            )
        kind = np.dtype(dtype if dtype != "bfloat16" else "float32")
        read, mix, write = (self.weights[n].astype(kind) for n in ("read", "mix", "write"))
        state = np.zeros((), dtype=kind)
        sequences = []
        for i, (name, array) in enumerate(sorted(inputs.items())):
            values = array.astype(kind) * (kind.type(1) if is_floating(array) else kind.type(0.05))
            features = np.sin(values[..., None] * (1 + read) + mix + kind.type(i))
            if name in _CAUSAL and array.ndim == 2:
                sequences.append((features * write).sum(-1))
            elif features.size:
                state = state + np.sin((features * write).mean(dtype=kind) * kind.type(3 + i))
        reshaped = self._is_reshaped(inputs)
        return {
            name: self._output(i, spec, spec.shape(reshaped), state, sequences, kind)
            for i, (name, spec) in enumerate(self.line.outputs.items())
        }

    def _is_reshaped(self, inputs: Mapping[str, Array]) -> bool:
        return any(
            array.shape == self.line.inputs[name].shape(reshaped=True) != self.line.inputs[name].shape()
            for name, array in inputs.items()
        )

    def _output(
        self,
        number: int,
        spec: signature.Spec,
        shape: tuple[int, ...],
        state: Array,
        sequences: Sequence[Array],
        kind: np.dtype[Any],
    ) -> Array:
        count = int(np.prod(shape))
        phase = np.linspace(0, 6, count, dtype=kind).reshape(shape) if count else np.zeros(shape)
        total = np.zeros(shape, dtype=kind) + state
        for sequence in sequences:
            if len(shape) >= 2 and sequence.shape == shape[:2]:
                seen = np.cumsum(sequence, axis=1) / kind.type(sequence.shape[1])
                total = total + seen.reshape(seen.shape + (1,) * (len(shape) - 2))
            elif len(shape) >= 1 and len(sequence) == shape[0]:
                total = total + sequence.mean(1).reshape((-1,) + (1,) * (len(shape) - 1))
            else:
                total = total + sequence.mean(dtype=kind)
        values = np.sin(total + phase.astype(kind) + kind.type(number))
        if spec.dtype.startswith("float"):
            return values if kind == np.float64 else values.astype(spec.dtype)
        if spec.dtype == "bool":
            return np.ones(shape, dtype=bool)
        return (np.arange(count).reshape(shape) % 7).astype(spec.dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the signature and the weights to a folder."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps({"line": str(self.line), "seed": self.seed}))
        with open(path / "model.npz", "wb") as file:
            np.savez(file, **self.weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MockModel:
        """The model that `save_pretrained` wrote."""
        path = Path(folder)
        config = json.loads((path / "config.json").read_text())
        model = cls(signature.parse(config["line"]), config["seed"])
        with np.load(path / "model.npz") as held:
            model.weights = {name: held[name] for name in held.files}
        return model


class MockTokenizer:
    """Words to ids, as a tokenizer's `__call__` does; ids follow from the words alone."""

    def __init__(self, line: signature.Signature) -> None:
        self.line = line

    def __call__(
        self, text: str | Sequence[str], padding: bool = True, return_tensors: str = "np"
    ) -> Arrays:
        """`input_ids` and `attention_mask`, int64 (batch, length), padded to the recorded length."""
        rows = [text] if isinstance(text, str) else list(text)
        spec = self.line.inputs.get("input_ids")
        shape = spec.shape() if spec else (len(rows), 16)
        length = shape[-1]
        ids = np.ones((len(rows), length), dtype=np.int64)
        for i, row in enumerate(rows):
            codes = [3 + sum(word.encode()) % 93 for word in row.split()][:length]
            ids[i, : len(codes)] = codes
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


class MockProcessor:
    """Images and sounds to arrays, as a processor's `__call__` does."""

    def __init__(self, line: signature.Signature) -> None:
        self.line = line

    def __call__(self, media: Array, return_tensors: str = "np") -> Arrays:
        """Every floating input of the model, filled from the medium's values."""
        made: Arrays = {}
        for name, spec in self.line.inputs.items():
            if spec.dtype.startswith("float"):
                shape = spec.shape()
                made[name] = np.resize(media.astype(spec.dtype), shape)
        return made


class MockPipeline:
    """Raw input to outputs: preprocess, model, as `transformers.pipeline` returns it."""

    def __init__(
        self, task: str, model: MockModel, tokenizer: MockTokenizer, processor: MockProcessor
    ) -> None:
        self.task = task
        self.model = model
        self.tokenizer = tokenizer
        self.processor = processor

    def example(self) -> dict[str, Any]:
        """Raw text and media that fit the model."""
        rows = self.model.line.inputs.get("input_ids")
        batch = rows.shape()[0] if rows is not None and rows.dims else 1
        return {
            "text": ["the quick brown fox jumps over the lazy dog"] * batch,
            "media": np.linspace(-1, 1, 997),
        }

    def preprocess(self, raw: Mapping[str, Any]) -> Arrays:
        """The model's arrays for raw input."""
        found = {**self.tokenizer(raw["text"]), **self.processor(raw["media"])}
        made: Arrays = {}
        for name, spec in self.model.line.inputs.items():
            array = found.get(name)
            if array is None or array.shape != spec.shape():
                array = np.ones(spec.shape(), dtype=spec.dtype)
            made[name] = array.astype(spec.dtype)
        return made

    def __call__(self, raw: Mapping[str, Any]) -> Arrays:
        """Outputs by name."""
        return self.model(**self.preprocess(raw))


def mock_pipeline(
    task: str, model: MockModel, tokenizer: MockTokenizer, processor: MockProcessor
) -> MockPipeline:
    """A pipeline, by the arguments of `transformers.pipeline`."""
    return MockPipeline(task, model, tokenizer, processor)


#: Tokens of which an output at a position sees only the earlier ones.
_CAUSAL = ("input_ids", "decoder_input_ids")
