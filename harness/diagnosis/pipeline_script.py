"""Script of a failure in a pipeline: its own exception, or the text that it generates."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from harness.contract import (
    GENERATED_TOKENS,
    CellFailure,
    Stage,
    Unsupported,
)
from harness.diagnosis import source_text
from harness.diagnosis.generation_script import generation_script, greedy
from harness.diagnosis.script_config import options
from harness.diagnosis.script_draft import ScriptDraft

_TEXT = re.compile(r"generate: token \d+ of row")


def is_text_of_pipeline(failure: CellFailure) -> bool:
    """Whether a pipeline's failure is the text that the model generates in it."""
    return failure.stage is Stage.PIPELINE and bool(_TEXT.search(failure.reason))


def pipeline_script(draft: ScriptDraft) -> None:
    """The parts of a script that calls `transformers.pipeline`; see `generation_script`.

    Raises:
        Unsupported: the failure is a comparison of something else than a text.
    """
    request, case, context = draft.request, draft.case, draft.context
    asked = case.pipeline()
    if asked is None:
        raise Unsupported(f"{case.entry.name} has no pipeline")
    if is_text_of_pipeline(request.failure):
        context["kind"] = "generate"
        generation_script(draft, asked.inputs)
        return
    if request.failure.cause.startswith("CheckFailed"):
        raise Unsupported("no script of a comparison within a pipeline yet")
    folder: Path = context["files"]
    lines, parts = [], []
    for name, component in asked.components.items():
        component.save_pretrained(folder / name)
        place = f'Path(__file__).with_suffix("") / "{name}"'
        lines.append(f"{name} = {type(component).__name__}.from_pretrained({place})")
        parts.append(f"{name}={name}")
    context["own"] = [
        f"from transformers import {type(c).__name__}" for c in asked.components.values()
    ]
    raw = asked.raw
    if isinstance(raw, str):
        told = source_text.literal(raw)
    else:
        told = draft.inputs.text("raw", np.asarray(raw))
        if not isinstance(raw, np.ndarray):
            told = f"Image.fromarray({told})"
            context["own"].append("from PIL import Image")
            context["needs"] = ["pillow"]
    context |= {
        "compares": False,
        "limit": None,
        "reference": "",
        "inputs": "",
        "components": "\n".join(lines),
        "task": asked.task,
        "parts": ", ".join(parts),
        "raw": told,
        "arguments": options(asked.arguments),
        "tokens": GENERATED_TOKENS,
        **greedy(case, asked.inputs or case.inputs()),
    }
