"""Script of one inference: inputs, the output that a reason names, and what of it counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.cell import border
from harness.cell.judgement import PLACEMENT
from harness.cell.progress import CellProgress
from harness.cell.reference import Reference, make_reference
from harness.checks import batch_rows
from harness.contract import (
    Array,
    Arrays,
    Case,
    CellResult,
    ExportedFile,
    Outcome,
    Precision,
    Stage,
    Unsupported,
    is_floating,
)
from harness.diagnosis.script_draft import ScriptDraft
from harness.diagnosis.script_inputs import ScriptInputs
from harness.diagnosis.script_request import stem
from harness.diagnosis.source_text import WIDTH
from harness.toolkit import numerics

if TYPE_CHECKING:
    from harness.models.case import TinyCase

#: How an output's part of a reason begins: its name before the comparison's result.
_OUTPUT = re.compile(
    r"(?P<name>[\w.]+): (?:relative error|\d+ of \d+ values are not finite|expected shape)"
)
_INPUT = re.compile(r"on input '(?P<name>[^']+)'")


def inference_script(draft: ScriptDraft) -> None:
    """The parts of a script that runs one inference, and compares it where it ends."""
    case, context, failure = draft.case, draft.context, draft.request.failure
    said = _INPUT.search(failure.reason)
    name = said["name"] if said else "base"
    reference = reference_of(draft)
    given, want, real = _input(name, case, reference)
    placed = failure.reason.startswith(PLACEMENT)
    compares = failure.stage is Stage.VERIFY and not placed
    context |= {"compares": compares, "limit": None, "reference": "", "real": ""}
    context |= {"error": "", "output": "", "host": "", "placed": placed}
    context["again"] = "again on input" in failure.reason
    made: ExportedFile | None = None
    if context["kind"] == "exported":
        made = exported_program(draft, given)
        given = made.feed
        context |= {"file": f'Path(__file__).with_suffix("{made.path.suffix}")', "index": 0}
        context["suffix"] = made.path.suffix
    elif placed:
        raise Unsupported("a script of the model's own code shows no placement")
    context["inputs"] = draft.inputs.table("inputs", given)
    context["names"] = list(given)
    base = dict(reference.inputs["base"])
    same = made is not None or all(
        n in given and np.array_equal(given[n], a) for n, a in base.items()
    )
    context["example"] = "" if same else draft.inputs.table("example", base, "example/")
    if not compares:
        return
    output = _output(failure.reason, want)
    array = want[output]
    floating = is_floating(array)
    limit = draft.limit(reference.floor)
    host = ".double().numpy()" if floating else ".numpy()"
    norm = "np.linalg.norm"
    if made is not None:
        if not made.judged_alone:
            draft.inputs.stored["expected"] = array
        context["wide"] = array.dtype.name
        context["index"] = made.outputs[output]
    picked = "" if made is not None else subscript(output, case, given)
    context |= {
        "limit": f"{limit:.2g}" if floating else numerics.MISMATCHED,
        "output": picked,
        "host": host,
        "reference": ""
        if made is not None and made.judged_alone
        else 'expected = stored["expected"]'
        if made is not None
        else _expected(case, reference.dtype, context["options"], picked, host),
        "error": f"{norm}(found - expected) / {norm}(expected)"
        if floating
        else "np.mean(found != expected)",
        "real": _real_text(real.get(output), array, given, draft.inputs),
    }


def exported_program(draft: ScriptDraft, given: Arrays) -> ExportedFile:
    """The backend's program as a file beside the script.

    Raises:
        Unsupported: the backend writes none, or cannot for this model.
    """
    export: Callable[[Case, Precision, Arrays, Path], ExportedFile] | None
    export = getattr(draft.backend, "exported", None)
    if export is None:
        raise Unsupported("the backend writes no files")
    draft.request.folder.mkdir(parents=True, exist_ok=True)
    path = draft.request.folder / stem(draft.request)
    try:
        made: ExportedFile = export(draft.case, draft.precision, given, path)
        return made
    except Exception as error:  # whatever an exporter says to a model
        raise Unsupported(f"no file of the program: {type(error).__name__}: {error}") from error


def reference_of(draft: ScriptDraft) -> Reference:
    """The reference of a case on every input of its cell, as the cell's own stages make it."""
    case, backend, precision = draft.case, draft.backend, draft.precision
    job = draft.request.job
    entry = job.cell.entry
    result = CellResult(
        entry.name,
        entry.family,
        entry.architecture,
        job.cell.head,
        precision.name,
        Stage.BUILD,
        Outcome.PASS,
    )
    progress = CellProgress(result, lambda stage, failures: None)
    return make_reference(
        case,
        {name: case.inputs(name) for name in ("base", "other")},
        precision,
        replace(job, expected_signature=None),
        progress,
        dynamic=border.flag(backend, "dynamic", otherwise=True),
        any_arguments=border.flag(backend, "any_arguments", otherwise=False),
    )


def _input(name: str, case: TinyCase, reference: Reference) -> tuple[Arrays, Arrays, Arrays]:
    """Inputs by name, the reference's outputs on them, and masks of what counts of these.

    Raises:
        Unsupported: no input of a single inference is called so.
    """
    if name in reference.inputs:
        variant = reference.further.get(name)
        real = variant.real if variant else {}
        return dict(reference.inputs[name]), dict(reference.outputs[name]), dict(real)
    moved = batch_rows.moved_row(reference.inputs["base"], reference.inputs["other"])
    if name != "moved-row" or moved is None:
        raise Unsupported(f"no script of a failure on input {name!r} yet")
    want = reference.outputs_on(moved)
    last = {}
    for output, array in want.items():
        last[output] = np.zeros(array.shape, np.bool_)
        last[output][-1] = True
    return moved, want, last


def _output(reason: str, want: Arrays) -> str:
    """The output that a reason names, else the first of those that are compared exactly."""
    found = _OUTPUT.search(reason)
    if found and found["name"] in want:
        return found["name"]
    exact = [name for name, array in want.items() if not is_floating(array)]
    if "integer outputs" in reason and exact:
        return exact[0]
    raise Unsupported(f"no script of this failure yet: {reason}")


def subscript(output: str, case: TinyCase, given: Arrays) -> str:
    """The source text behind a model's raw outputs that picks one of them: `["logits"]`."""
    import torch

    module = case.module()
    with torch.no_grad():
        raw = module(**{n: torch.tensor(a) for n, a in given.items()}, **case.options())
    if isinstance(raw, torch.Tensor):
        return ""
    words = output.split(".")
    return "".join(f"[{w}]" if w.isdigit() else f'["{w}"]' for w in words)


def plain_copy(case: TinyCase, dtype: str) -> str:
    """The statements that set `plain`: the model with plain attention, in the reference's dtype."""
    lines = [f"plain = copy.deepcopy(model){'.double()' if dtype == 'float64' else ''}"]
    module = case.module()
    for setter, choice in case.plain_choices().items():
        wanted = "experts" not in setter or _has_experts(module)
        if wanted and _chooses(module, setter, choice):
            lines.append(f'plain.{setter}("{choice}")')
    return "\n".join(lines)


def _expected(case: TinyCase, dtype: str, options: str, output: str, host: str) -> str:
    """The statements that set `expected`: an inference of the reference."""
    lines = [plain_copy(case, dtype)]
    seed = ["torch.manual_seed(0)"] if case.seeded else []
    call = f"plain(**tensors(inputs, torch.{dtype}){options}){output}"
    whole = f"    expected = {call}{host}"
    lines += [*seed, "with torch.no_grad():"]
    lines += (
        [whole] if len(whole) <= WIDTH else [f"    expected = {call}", f"expected = expected{host}"]
    )
    lines += seed
    return "\n".join(lines)


def _has_experts(module: Any) -> bool:
    return any("experts" in type(part).__name__.lower() for part in module.modules())


def _chooses(module: Any, setter: str, choice: str) -> bool:
    function = getattr(module, setter, None)
    if function is None:
        return False
    try:
        function(choice)
    except (ValueError, KeyError, AttributeError, NotImplementedError):
        return False
    return True


def _real_text(real: Array | None, want: Array, given: Arrays, inputs: ScriptInputs) -> str:
    """The source text of the mask of what is compared; empty where all of it is."""
    usable = np.ones(want.shape, np.bool_)
    if is_floating(want):
        usable = numerics.has_value(want)
    if real is not None and real.shape == want.shape:
        usable = usable & real
    if usable.all():
        return ""
    mask = given.get("attention_mask")
    if mask is not None and mask.shape == want.shape[: mask.ndim]:
        by_token = np.broadcast_to(
            mask.astype(np.bool_)[(..., *[None] * (want.ndim - mask.ndim))], want.shape
        )
        if np.array_equal(by_token, usable):
            return 'inputs["attention_mask"] == 1'
    return inputs.text("real", usable)
