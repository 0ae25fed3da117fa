"""Windows that a config class declares: how far a layer of attention or a chunk of a scan reaches.

A small model's windows are 8 tokens. A modeling file that reads one from elsewhere, a class default
or a field that a version has lost, goes by 4,096 again, which no short text shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: Fields that hold a window: `sliding_window`, ModernBERT's `local_attention`, Mamba's chunks, and
#: the number of keys that DeepSeek V3.2 chooses.
WINDOW = re.compile(
    r"(sliding|attention)_window(_size)?|local_attention(_window_len)?|attention_chunk_size"
    r"|index_topk|(mamba_)?chunk_size"
)

#: Fields that say how many places a text may have; one without them may have any number.
PLACES = re.compile(r"max_(\w+_)?position_embeddings|n_positions")

#: The longest window that a text leaves: its attention has 17 million scores for each head.
LONGEST = 4096


def longest_declared(config: Any) -> int:
    """The longest window that the class of a config or of a part of it declares, in tokens.

    Args:
        config: of a small model.

    Returns:
        0 where none is declared that was made smaller, or where its text has not as many places.
    """
    found = 0
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
        places = [value for name, value in own.items() if PLACES.fullmatch(name) and value]
        longest = min([LONGEST, *(count // 2 for count in places)])
        found = max([found, *(window for window in windows if window <= longest)])
    return found


def _parts(config: Any) -> Iterator[Any]:
    """A config, and the configs within it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "model_type"):
            yield from _parts(value)
