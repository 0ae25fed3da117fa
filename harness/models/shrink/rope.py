"""Rotary positions in three axes (Qwen2-VL's `mrope_section`), whose sections share a head."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from harness.models.shrink.configs import Config, field_of


def fit_rope(config: Config, forced: Collection[str]) -> None:
    """Rescales `mrope_section` to half the rotated width, which the small heads have changed.

    Args:
        config: changed in place.
        forced: fields that an override sets.
    """
    if "rope_parameters" in forced:
        return
    heads = field_of(config, "num_attention_heads")
    hidden = field_of(config, "hidden_size")
    width = vars(config).get("head_dim") or (
        hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None
    )
    if not isinstance(width, int):
        return
    own: type = type(config)
    source = _modeling_source(own)
    if "mrope_section" in source:
        # The modeling code may have sections of its own, for the full-sized heads: say ours.
        default = re.search(r'"mrope_section", \[([\d, ]+)\]', source)
        sections = [int(n) for n in default[1].split(",")] if default else [2, 3, 3]
        rope = vars(config).get("rope_parameters")
        if isinstance(rope, dict) and "rope_theta" in rope:
            rope.setdefault("mrope_section", sections)
        elif vars(config).get("rope_theta") and vars(config).get("rope_scaling", 0) is None:
            # Before transformers 5 the base stood beside the sections.
            config.rope_scaling = {"rope_type": "default", "mrope_section": sections}
    for key in ("rope_parameters", "rope_scaling"):
        rope = vars(config).get(key)
        for table in [rope, *(rope.values() if isinstance(rope, dict) else ())]:
            if isinstance(table, dict) and isinstance(table.get("mrope_section"), list | tuple):
                share = float(
                    table.get("partial_rotary_factor")
                    or getattr(config, "partial_rotary_factor", None)
                    or 1.0
                )
                table["mrope_section"] = scaled_sections(
                    table["mrope_section"], int(width * share) // 2
                )


@cache
def _modeling_source(cls: Any) -> str:
    """The text of the modeling file beside a config class's own file."""
    path = Path(inspect.getfile(cls))
    modeling = path.with_name(path.name.replace("configuration_", "modeling_"))
    return modeling.read_text(encoding="utf-8") if modeling.exists() else ""


def scaled_sections(sections: list[int] | tuple[int, ...], total: int) -> list[int]:
    """Sections in the same proportions that sum to `total`, none of them zero."""
    whole = sum(sections) or 1
    small = [max(1, s * total // whole) if s else 0 for s in sections]
    small[-1] += max(0, total - sum(small))
    while sum(small) > total:  # small sections were rounded up to one
        small[small.index(max(small))] -= 1
    return small
