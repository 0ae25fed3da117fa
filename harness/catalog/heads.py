"""Task heads: the library's class with a head for a task, such as `BertForMaskedLM`, as data.

An entry's base cell runs the headless model; each of its heads is a further cell. The rows of
`heads.toml` are read without any library, so that a run knows its cells before it imports one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile

#: Tasks without a head, as the hub's pipeline tags name them where they do: of headless models, of
#: other libraries, and of heads that no row of `heads.toml` has.
WITHOUT_HEAD = (
    "any-to-any", "audio-to-audio", "audio-tokenization", "feature-extraction",
    "graph-classification", "graph-ml", "image-feature-extraction", "image-text-retrieval",
    "image-text-to-image", "image-text-to-video", "image-to-3d", "image-to-video",
    "node-classification", "reinforcement-learning", "sentence-similarity",
    "tabular-classification", "tabular-regression", "text-ranking", "text-to-3d", "text-to-image",
    "text-to-video", "unconditional-image-generation",
    "video-grounding", "video-to-video", "visual-document-retrieval",
    "voice-activity-detection", "zero-shot-audio-classification", "zero-shot-classification",
    "zero-shot-image-classification",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """A task's head: the auto class that has it, and the input that `generate()` continues."""

    name: str  # the task, as pipelines call it
    mappings: tuple[str, ...]  # auto mappings, the likeliest first
    classes: tuple[str, ...] = ()  # endings of class names, where no mapping has one
    generates: str = ""  # a forward argument; empty: this head does not generate
    pad_id: bool = False  # whether it may find a text's last token by the config's padding id


@cache
def known_heads() -> Mapping[str, Head]:
    """The rows of `heads.toml` by task."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_tables(keys_of(Head, without=("name",)))
    return {
        name: Head(
            name,
            tuple(row["mappings"]),
            tuple(row.get("classes", ())),
            row.get("generates", ""),
            row.get("pad_id", False),
        )
        for name, row in source.tables.items()
    }


def known_tasks() -> tuple[str, ...]:
    """The tasks that an entry may have, with a head or without."""
    return (*known_heads(), *WITHOUT_HEAD)
