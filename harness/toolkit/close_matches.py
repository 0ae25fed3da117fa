"""Close matches of names: how a misspelt entry, option or key is told what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

#: Likeness of two names, by `difflib`, from which one is taken for the other misspelt, where names
#: beyond the known ones are allowed.
MISSPELT = 0.85

#: How many choices a message lists.
SHOWN = 12


def normalise(name: str) -> str:
    """`name` without case and without `-_./` and spaces: how names are compared."""
    return re.sub(r"[-_./\s]", "", name).lower()


def listed(choices: Sequence[str]) -> str:
    """The choices of a message, separated by commas; of more than a dozen the number alone."""
    return ", ".join(choices) if len(choices) <= SHOWN else f"{len(choices)} known names"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean ...?` with the closest choices, or an empty string when none is close."""
    by_normal: dict[str, str] = {}
    for choice in choices:
        by_normal.setdefault(normalise(choice), choice)
    close = difflib.get_close_matches(normalise(word), by_normal, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" Did you mean {' or '.join(f'`{by_normal[match]}`' for match in close)}?"


def misspelt(word: str, choices: Iterable[str]) -> str:
    """The choice that a word almost is; empty where the word is one, or like none of them."""
    by_normal = {normalise(choice): choice for choice in sorted(choices)}
    own = normalise(word)
    if own in by_normal:
        return ""
    close = difflib.get_close_matches(own, by_normal, n=1, cutoff=MISSPELT)
    return by_normal[close[0]] if close else ""
