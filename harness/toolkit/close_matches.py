"""Close matches of names: how a misspelt entry, option or key is told what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def normalise(name: str) -> str:
    """`name` without case and without `-_./` and spaces: how names are compared."""
    return re.sub(r"[-_./\s]", "", name).lower()


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean ...?` with the closest choices, or an empty string when none is close."""
    by_normal: dict[str, str] = {}
    for choice in choices:
        by_normal.setdefault(normalise(choice), choice)
    close = difflib.get_close_matches(normalise(word), by_normal, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" Did you mean {' or '.join(f'`{by_normal[match]}`' for match in close)}?"
