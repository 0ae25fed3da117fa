"""Long texts of a small model: beyond the windows that its class declares, and to its last place.

A small model's windows are 8 tokens. A modeling file that reads one from elsewhere, a class default
or a field that a version has lost, goes by 4,096 again, which no short text shows. Nor does
one show a table of positions that ends before the text does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.contract import Arrays

#: Fields that hold a window: `sliding_window`, ModernBERT's `local_attention`, Mamba's chunks, and
#: the number of keys that DeepSeek V3.2 chooses.
WINDOW = re.compile(
    r"(sliding|attention)_window(_size)?|local_attention(_window_len)?|attention_chunk_size"
    r"|index_topk|(mamba_)?chunk_size"
)

#: Fields that say how many places a text may have; one without them may have any number.
PLACES = re.compile(r"max_(\w+_)?position_embeddings|n_positions")

#: Fields that say it of a decoder's text.
DECODER_PLACES = re.compile(rf"{PLACES.pattern}|max_target_positions")

#: The longest window that a text leaves: its attention has 17 million scores for each head.
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class LongText:
    """A long text of one row, and texts that show whether the model takes such a one.

    Attributes:
        claim: about its tokens, as "leave each window".
        inputs: with the long text.
        usual: inputs with one of usual length, after which the model must be able to generate.
        control: inputs that must run.
        only_generated: whether the text shows nothing but what is generated after it.
        of_decoder: whether the decoder behind an encoder has read the text, and goes on with it.
    """

    claim: str
    inputs: Arrays
    usual: Arrays
    control: Arrays
    only_generated: bool = False
    of_decoder: bool = False


def longest_declared(config: Any) -> int:
    """The longest window that the class of a config or of a part of it declares, in tokens.

    Args:
        config: of a small model.

    Returns:
        0 where none is declared that was made smaller, or where its text has not as many places.
    """
    found, longest = 0, min(LONGEST, (places(config) or LONGEST * 2) // 2)
    for part in _parts(config):
        try:
            declared = vars(type(part)())
        except Exception:  # whatever a class says that has no defaults
            continue
        own = vars(part)
        windows = [
            value
            for name, value in declared.items()
            if WINDOW.fullmatch(name) and type(value) is int and value != own.get(name)
        ]
        found = max([found, *(window for window in windows if window <= longest)])
    return found


def places(config: Any, fields: re.Pattern[str] = PLACES) -> int | None:
    """The fewest places that a config or a part of it gives a text; None where none says so.

    Args:
        config: of a model.
        fields: that say so.
    """
    found = [
        value
        for part in _parts(config)
        for name, value in vars(part).items()
        if fields.fullmatch(name) and type(value) is int and value
    ]
    return min(found, default=None)


def _parts(config: Any) -> Iterator[Any]:
    """A config, and the configs within it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "model_type"):
            yield from _parts(value)
