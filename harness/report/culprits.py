"""Text of a culprit: the part that fails, how that is known, and the scores around it."""

from __future__ import annotations

import math

from harness.contract import Culprit
from harness.toolkit import numerics
from harness.toolkit.text_table import plain_table

#: Spaces by which a submodule stands further in than the one around it.
INDENT = "  "


def lines(culprit: Culprit) -> list[str]:
    """The culprit as text, with a table of scores by depth."""
    found = [f"culprit: {culprit.line}" if culprit.found else culprit.line]
    if culprit.failure:
        found.append(f"  the whole model: {culprit.failure}")
    if culprit.found:
        found.append(f"  known by: {culprit.evidence}")
    found.append(f"  {culprit.prepares} prepares, {culprit.seconds:.0f} s")
    if culprit.scores:
        found += ["", *score_table(culprit)]
    return found


def score_table(culprit: Culprit) -> list[str]:
    """The submodules around the culprit in the order of execution, further in where deeper."""
    rows = [["score", "", "submodule", "class"]]
    for each in culprit.scores:
        mark = "wrong" if each.score > numerics.LIMIT else ""
        if each.path == culprit.module and each.kind == culprit.kind:
            mark = "here" if not mark else "wrong, here"
        name = each.path or "the model"
        rows.append([score_text(each.score), mark, f"{INDENT * each.depth}{name}", each.kind])
    return plain_table(rows)


def score_text(score: float) -> str:
    """A score in three digits."""
    return "not finite" if math.isinf(score) else f"{score:.3g}"
