"""A decoder of a few lines of numpy that generates text, in every way of a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from function_backend import WIDTH, FunctionBackend, FunctionCase

from harness.contract import (
    Array,
    Arrays,
    Generated,
    Generation,
    GenerationRequest,
    Generator,
    Precision,
    Unsupported,
)

LENGTH = 8

#: From a text so far, (batch, length), and its mask to the logits of the next token.
Logits = Callable[[Array, Array], Array]


def language(x: Arrays, w: Arrays) -> Arrays:
    """A running mean of the real tokens' rows, so that the past counts at each step."""
    mask = x["attention_mask"].astype(w["inner"].dtype)
    held = (w["inner"][x["input_ids"].astype(np.int64)] * mask[..., None]).cumsum(axis=1)
    held /= np.maximum(mask.cumsum(axis=1), 1)[..., None]
    return {"logits": np.tanh(4 * held) @ w["outer"]}


class LanguageCase(FunctionCase):
    """The decoder as a case."""

    generation: Generation | None = Generation("input_ids")  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(language)

    def inputs(self, variant: str = "base") -> Arrays:
        rows = 3 if variant == "reshaped" else 2
        random = np.random.default_rng(list(variant.encode()))
        ids = random.integers(1, WIDTH, (rows, LENGTH))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def weights(self) -> list[str]:
        return ["inner", "outer"]


def logits_after(context: Array, mask: Array) -> Array:
    """The right logits of the token after a text, (batch, vocabulary)."""
    given = {"input_ids": context, "attention_mask": mask}
    return language(given, LanguageCase().module())["logits"][:, -1]


def forgetful(context: Array, mask: Array) -> Array:
    """As if the cache held nothing, beside the last token."""
    return logits_after(context[:, -1:], mask[:, -1:])


def shifted(context: Array, mask: Array) -> Array:
    """As if each key and value of the past stood one place later, and the last one were lost."""
    return logits_after(np.delete(context, -2, axis=1), np.delete(mask, -2, axis=1))


def of_another_row(context: Array, mask: Array) -> Array:
    """As if each row remembered another one's text."""
    mixed = np.concatenate([context[::-1, :-1], context[:, -1:]], axis=1)
    return logits_after(mixed, mask)


class LanguageBackend(FunctionBackend):
    """Generates the right tokens; their logits are wrong in some ways, and some ways raise.

    Args:
        wrong: by way, as `way_of` names it: other logits, or an exception.
        tells: whether it tells logits.
    """

    def __init__(
        self, wrong: Mapping[str, Logits | Exception] | None = None, *, tells: bool = True
    ) -> None:
        super().__init__(LanguageCase())
        self.wrong, self.tells = wrong or {}, tells

    def generator(self, case: FunctionCase, precision: Precision) -> Generator:
        return self.generated

    def generated(self, request: GenerationRequest) -> Generated:
        wrong = self.wrong.get(way_of(request), logits_after)
        if isinstance(wrong, Exception):
            raise wrong
        ids, mask = request.inputs["input_ids"], request.inputs["attention_mask"]
        follow = np.zeros((len(ids), 0), ids.dtype) if request.follow is None else request.follow
        steps = []
        for index in range(follow.shape[1] + request.tokens):
            told = index >= follow.shape[1] or not request.tokens
            if told:
                steps.append(wrong(ids, mask))
            if index < follow.shape[1]:
                next_token = follow[:, index]
            else:
                next_token = logits_after(ids, mask).argmax(axis=-1)
            ids = np.concatenate([ids, next_token[:, None]], axis=1)
            mask = np.concatenate([mask, mask[:, -1:]], axis=1)
        return Generated(ids, np.stack(steps, axis=1) if self.tells else None)


def way_of(request: GenerationRequest) -> str:
    """The way that a request asks for, as `cache_ways.toml` names it; `plain` is none of them."""
    settings = request.settings
    if request.follow is not None:
        return "continuation" if request.tokens else "continuation by forward"
    if "cache_implementation" in settings:
        return f"{settings['cache_implementation']} cache"
    if "num_beams" in settings:
        return "beams" if settings.get("use_cache", True) else "beams without cache"
    if not request.inputs["attention_mask"].all():
        return "left-padded"
    if settings or request.assisted:
        return ", ".join(settings) or "assisted decoding"
    return "one row" if len(request.inputs["input_ids"]) == 1 else "plain"


def refused() -> Exception:
    """The words by which a backend says that it does not generate so."""
    return Unsupported("generates greedily, and in no other way")
