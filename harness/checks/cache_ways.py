"""Ways of using a key-value cache in generation: static, padded, continued, with beams.

`cache_ways.toml` has them. Plain `generate()` shows one: a whole prompt, then a token at a time. A
cache may be right in that way and wrong in another: `jamba` lost its state where several tokens
followed a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from harness.contract import (
    GENERATED_TOKENS,
    Array,
    Arrays,
    Case,
    Generation,
    GenerationRequest,
    Unsupported,
)
from harness.toolkit import padded_inputs
from harness.toolkit.padding_exemptions import GENERATED, exemptions_of
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import BOOLEAN, TABLE, Key

#: Tokens that are generated in a way, and that follow a prompt: half of those of plain generation,
#: so that both halves of its text are known.
TOKENS = GENERATED_TOKENS // 2

#: The words by which libraries say that they do not generate in a way, as patterns.
REFUSALS = (
    r"does(n't| not) support",
    r"(is|are) not (yet )?supported",
    r"not compatible with",
    r"requires? .* to be installed|need to install|is not (installed|available)|No module named",
    r"not compiled with CUDA",
    r"cannot use beam search|assisted decoding requires",
    r"model_kwargs` are not used by the model",
    r"only supports?",
)

#: Errors that a library raises on purpose; an IndexError is none of them.
SPOKEN = (ValueError, ImportError, TypeError, RuntimeError, AssertionError)

Rows = Literal["all", "one", "left-padded"]
ROWS: tuple[Rows, ...] = ("all", "one", "left-padded")
FOLLOWS = ("forward", "generate")

KEYS: Mapping[str, Key] = {
    "about": Key("The way, in a sentence.", required=True),
    "settings": Key("Keyword arguments of transformers' generate().", TABLE),
    "rows": Key("The rows of the batch; all of them, if left out.", choices=ROWS),
    "follow": Key("The call in which several tokens follow a kept cache.", choices=FOLLOWS),
    "greedy": Key("Whether each token is the likeliest; true, if left out.", BOOLEAN),
    "assisted": Key("Whether the model drafts for itself.", BOOLEAN),
    "deep": Key("Whether only `--checks deep` has it.", BOOLEAN),
}


@dataclass(frozen=True, slots=True)
class CacheWay:
    """One table of `cache_ways.toml`."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Rows = "all"
    follow: str = ""  # the call in which tokens follow a kept cache: `forward` or `generate`
    greedy: bool = True
    assisted: bool = False
    deep: bool = False

    @property
    def metric(self) -> str:
        """The metric with 1 where a cell was judged in this way, and 0 where that is refused."""
        return f"way_{self.name.replace(' ', '_')}"

    def request(self, fed: Arrays, follow: Array) -> GenerationRequest:
        """The request of a text in this way.

        Args:
            fed: inputs with the prompt, as `fed_in` makes them.
            follow: (rows, at least `TOKENS`) ids that follow the prompt, where any do.
        """
        return GenerationRequest(
            fed,
            0 if self.follow == "forward" else TOKENS,
            self.settings,
            follow[:, :TOKENS] if self.follow == "generate" else follow if self.follow else None,
            self.assisted,
        )


@cache
def cache_ways() -> tuple[CacheWay, ...]:
    """The tables of `cache_ways.toml`."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_tables(KEYS)
    return tuple(
        CacheWay(name, **{key: value for key, value in table.items() if key != "about"})
        for name, table in source.tables.items()
    )


def chosen(*, deep: bool) -> tuple[CacheWay, ...]:
    """The ways of a set of checks.

    Args:
        deep: whether those of `--checks deep` are meant too.
    """
    return tuple(way for way in cache_ways() if deep or not way.deep)


def beyond_text(given: Arrays, generation: Generation) -> bool:
    """Whether a prompt holds more than text, as an image; what an encoder reads is no prompt.

    Args:
        given: inputs with the prompt.
        generation: how their case generates.
    """
    own_text = {generation.argument, padded_inputs.MASK, *generation.types}
    return not generation.argument.startswith("decoder_") and bool(set(given) - own_text)


def fed_in(way: CacheWay, case: Case, given: Arrays, generation: Generation) -> Arrays:
    """The inputs of a way, with the prompt.

    Args:
        way: which one.
        case: whose inputs they are.
        given: the plain inputs with the prompt.
        generation: how the case generates.

    Raises:
        Unsupported: the model takes no such inputs.
    """
    if way.follow and beyond_text(given, generation):
        raise Unsupported("its prompt holds more than text, which is read once")
    if way.rows == "one":
        count = len(given[generation.argument])
        if any(array.ndim and len(array) != count for array in given.values()):
            raise Unsupported("its inputs are not one for each row of the batch")
        return {name: array[:1] if array.ndim else array for name, array in given.items()}
    if way.rows == "left-padded":
        # generate() makes positions of the mask for a decoder, and an encoder counts its own.
        alone = generation.argument.startswith("decoder_")
        exempt = exemptions_of(case).get("left-padded" if alone else GENERATED)
        if exempt is not None:
            raise Unsupported(exempt.reason)
        batch = padded_inputs.padded_batches(case, given).get("left-padded")
        if batch is None:
            raise Unsupported("it takes no padded batch")
        return batch
    return given


def refusal(error: Exception) -> str:
    """The words in which a library says that it does not generate in a way; empty: it says none."""
    if isinstance(error, Unsupported | NotImplementedError):
        return str(error) or type(error).__name__
    text = str(error)
    found = any(re.search(pattern, text) for pattern in REFUSALS)
    return text if found and isinstance(error, SPOKEN) else ""
