"""Script of a failure at generate: a text in one way of using a cache, against one inference."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.checks import cache_ways, generation
from harness.checks.cache_ways import CacheWay
from harness.contract import (
    GENERATED_TOKENS,
    PROCESSED,
    Array,
    Arrays,
    Generation,
    GenerationRequest,
    Unsupported,
)
from harness.diagnosis import source_text
from harness.diagnosis.inference_script import plain_copy, reference_of, subscript
from harness.diagnosis.script_config import options
from harness.diagnosis.script_draft import ScriptDraft
from harness.toolkit import padded_inputs
from harness.toolkit.greedy_generation import CACHES, FORCED

if TYPE_CHECKING:
    from harness.models.case import TinyCase

#: Plain greedy generation, as a way of using a cache.
PLAIN_WAY = CacheWay("")

_WAY = re.compile(r"generate, (?P<way>[^:]+): ")

#: Reasons that hold a text against the reference; any other one is an exception.
_COMPARED = re.compile(r"relative error|generate: token \d+ of row")


def generation_script(draft: ScriptDraft, given: Arrays | None = None) -> None:
    """The parts of a script that generates a text, and compares its logits where it ends.

    Args:
        draft: of the script; added to.
        given: what generation begins with, as a pipeline feeds it; the plain inputs by default.

    Raises:
        Unsupported: no script of this way of generating can be written yet.
    """
    request, case, context = draft.request, draft.case, draft.context
    how = case.generation
    if how is None:
        raise Unsupported(f"{case.entry.name} does not generate")
    reason = request.failure.reason
    said = _WAY.search(reason)
    ways = {way.name: way for way in cache_ways.cache_ways()}
    way = ways.get(said["way"], PLAIN_WAY) if said else PLAIN_WAY
    if way.assisted:
        raise Unsupported("no script of assisted decoding yet")
    reference = reference_of(draft)
    base = dict(reference.inputs["base"])
    if cache_ways.beyond_text(base, how):
        base = dict(reference.inputs.get(PROCESSED, base))
    text = generation.prompt(given or base, how.argument)
    fed = cache_ways.fed_in(way, case, text, how)
    compares = bool(_COMPARED.search(reason))
    tokens = GENERATED_TOKENS if way is PLAIN_WAY else way.request(fed, np.zeros((1, 8))).tokens
    follow = _follow(way, draft, text, how) if way.follow else None
    takes = inspect.signature(case.module().forward).parameters
    context |= {"compares": compares, "limit": None, "reference": "", "real": "", "error": ""}
    context |= {
        "argument": how.argument,
        "tokens": tokens,
        "settings": options(way.settings),
        "beams": int(way.settings.get("num_beams", 1)) > 1,
        "way": way,
        **greedy(case, fed),
        "mask": how.argument.replace("input_ids", "attention_mask"),
        "follow": draft.inputs.text("follow", follow) if follow is not None else "",
        "encoder": bool(getattr(case.config(), "is_encoder_decoder", False)),
        "masked": how.argument.replace("input_ids", "attention_mask") in fed,
        "inputs": draft.inputs.table("inputs", fed),
        "numbers": any(array.ndim == 0 for array in fed.values()),
        "whole": "",
        "short": "",
        "cache": next((name for name in CACHES if name in takes), ""),
    }
    if not compares:
        return
    limit = draft.limit(reference.floor)
    kept = fed
    if way.rows == "left-padded":
        kept = padded_inputs.shortened(text)
        context["short"] = draft.inputs.table("short", kept, "short/")
    logits = next(n for n in reference.outputs["base"] if n.endswith(generation.LOGITS_OF))
    context |= {
        "limit": f"{limit:.2g}",
        "logits": subscript(logits, case, fed),
        "reference": plain_copy(case, reference.dtype),
        "dtype": reference.dtype,
        "error": "np.linalg.norm(found - expected) / np.linalg.norm(expected)",
        "whole": whole_text("short" if context["short"] else "inputs", kept, how),
    }


def greedy(case: TinyCase, fed: Arrays) -> dict[str, Any]:
    """The template's names for greedy generation.

    Args:
        case: the model.
        fed: what generation begins with.
    """
    how = case.generation
    if how is None:
        return {"greedy": False}
    first = fed[how.argument][0, 0] if how.argument.startswith("decoder_") else None
    return {
        "greedy": True,
        "parts_generate": sum(
            hasattr(part, "generation_config") for part in case.module().modules()
        )
        > 1,
        "suppressed": list(how.suppressed),
        "start": None if first is None else int(first),
        "forced": [n for n in FORCED if getattr(case.config(), n, None) is not None],
    }


def whole_text(variable: str, fed: Arrays, how: Generation) -> str:
    """The statements that set `whole`: inputs of one inference over the whole text `sequences`.

    Args:
        variable: that holds the inputs with the prompt.
        fed: those inputs.
        how: the model generates.
    """
    ids = fed[how.argument]
    longer = np.concatenate([ids, ids[:, -1:]], axis=1)
    grown = generation.extended(fed, how, longer)
    lines = [f'whole = {{**{variable}, "{how.argument}": sequences}}']
    names = [n for n, a in grown.items() if n != how.argument and a.shape != fed[n].shape]
    if names:
        lines.append(f"more = sequences.shape[1] - {ids.shape[1]}")
    for name in names:
        pads = ["(0, 0)", "(0, more)", *["(0, 0)"] * (fed[name].ndim - 2)]
        last = grown[name][:, -1:]
        mode = 'mode="edge"'
        if not np.array_equal(last, fed[name][:, -1:]):  # a kind of tokens
            mode = f"constant_values={source_text.literal(last.flat[0].item())}"
        pad = f"np.pad({variable}[{source_text.literal(name)}], [{', '.join(pads)}], {mode})"
        lines.append(f'whole["{name}"] = {pad}')
    return "\n".join(lines)


def _follow(way: CacheWay, draft: ScriptDraft, text: Arrays, how: Generation) -> Array:
    """The token ids that follow the prompt: those of plain generation."""
    generator = getattr(draft.backend, "generator", None)
    if generator is None:
        raise Unsupported("the backend does not generate")
    made = generator(draft.case, draft.precision)(GenerationRequest(text, GENERATED_TOKENS))
    rows, length = text[how.argument].shape
    found = way.request(text, made.sequences[:rows, length:]).follow
    assert found is not None
    return found
