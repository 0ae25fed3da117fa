"""Abridged blocks of a record: a block that resembles an earlier one holds what differs.

    [bert:fill-mask] BertForMaskedLM 4.30.2
    like [bert] bert.
    - tensor bert.pooler.dense bias f32[64] weight f32[64,64]
    tensor cls.predictions bias f32[128]

The lines are those of `[bert]`, with `bert.` before each name of a tensor, without those behind a
`-`, and with those that follow. Of another model, as this prefix says, the outputs are others, and
left out too. Where that saves less than half, the block stands whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Kinds of lines that begin with the name of a tensor.
_OF_TENSORS = ("tensor ", "added ", "dropped ")


def abridged(blocks: Sequence[str]) -> list[str]:
    """The blocks, each by what differs from the most similar earlier one that stands whole.

    Args:
        blocks: whole ones, of as many models as there are; only those of one model type are alike.
    """
    roots: dict[str, list[str]] = {}
    found = []
    for block in blocks:
        head, *lines = block.strip().splitlines()
        kind = next((line for line in lines if line.startswith("config model_type ")), "")
        shorter = [
            _difference(head, lines, root, prefix)
            for root in roots.get(kind, [])
            for prefix in _prefixes(lines)
        ]
        best = min(shorter, key=len, default=block)
        if len(best) < len(block) / 2:
            found.append(best)
        else:
            roots.setdefault(kind, []).append(block)
            found.append(block.strip())
    return found


def whole(blocks: Iterable[str]) -> list[str]:
    """The blocks as they were before they were abridged.

    Raises:
        ValueError: a block is like one that does not stand before it.
    """
    known: dict[str, list[str]] = {}
    found = []
    for block in blocks:
        head, *lines = block.strip().splitlines()
        if lines and lines[0].startswith("like "):
            label, _, prefix = lines[0].removeprefix("like ").partition("]")
            if label not in known:
                raise ValueError(f"{head} is like {label}], of which there is none before it")
            less = {line.removeprefix("- ") for line in lines if line.startswith("- ")}
            kept = [line for line in _prefixed(known[label], prefix.strip()) if line not in less]
            lines = kept + [line for line in lines[1:] if not line.startswith("- ")]
        else:
            known[head.partition("]")[0]] = lines
        found.append("\n".join([head, *lines]) + "\n")
    return found


def _difference(head: str, lines: list[str], root: str, prefix: str) -> str:
    root_head, *before = root.strip().splitlines()
    before = _prefixed(before, prefix)
    less = [f"- {line}" for line in before if line not in set(lines)]
    more = [line for line in lines if line not in set(before)]
    like = f"like {root_head.partition(']')[0]}] {prefix}".strip()
    return "\n".join([head, like, *less, *more])


def _prefixed(lines: list[str], prefix: str) -> list[str]:
    """The lines with a prefix before each tensor's name; another model has other outputs."""
    found = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        if prefix and kind == "output":
            continue
        if f"{kind} " in _OF_TENSORS:
            line = f"{kind} {prefix}{rest}"
        elif kind == "alias":
            alias, _, name = rest.partition(" ")
            line = f"alias {prefix}{alias} {prefix}{name}"
        found.append(line)
    return found


def _prefixes(lines: list[str]) -> list[str]:
    """The first parts of the tensors' names, and none."""
    names = [line.split(" ")[1] for line in lines if line.startswith("tensor ")]
    return ["", *dict.fromkeys(f"{name.partition('.')[0]}." for name in names)]
