"""Standalone scripts: one short Python file that shows a cell's failure without this project.

A script builds the model, seeds its weights, makes the inputs and runs the backend, and the
reference where numbers are compared. `write` runs in a child, in the backend's environment.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.catalog import backends
from harness.catalog.backend_spec import BACKENDS, BackendSpec
from harness.cell.request import Job
from harness.contract import Arrays, Device, Outcome, Stage, Unsupported
from harness.diagnosis import script_config, script_text, script_weights, simple_model
from harness.diagnosis.generation_script import generation_script
from harness.diagnosis.inference_script import inference_script
from harness.diagnosis.pipeline_script import is_text_of_pipeline, pipeline_script
from harness.diagnosis.roundtrip_script import roundtrip_script
from harness.diagnosis.script_draft import ScriptDraft
from harness.diagnosis.script_inputs import ScriptInputs
from harness.diagnosis.script_request import (
    EXPORTED,
    PLAIN,
    SIMPLE,
    TEMPLATE,
    ScriptRequest,
    stem,
)
from harness.diagnosis.upstream_report import upstream_report

if TYPE_CHECKING:
    from jinja2 import Environment

    from harness.models.case import TinyCase

#: Stages of a script, and the template's block for each.
KINDS: Mapping[Stage, str] = {
    Stage.PREPARE: "program",
    Stage.RUN: "program",
    Stage.VERIFY: "program",
    Stage.GENERATE: "generate",
    Stage.PIPELINE: "pipeline",
    Stage.ROUNDTRIP: "roundtrip",
}

TENSORS = """\
def tensors(inputs, dtype{device}):
    made = {{name: torch.tensor(array{place}) for name, array in inputs.items()}}
    return {{n: t.to(dtype) if t.is_floating_point() else t for n, t in made.items()}}
"""


@dataclass(slots=True)
class ScriptParts:
    """Parts of a script that are known so far, as the templates take them."""

    imports: list[str]
    needs: list[str]
    context: dict[str, Any]
    stored: Arrays


def write(request: ScriptRequest, report: Callable[[Stage], None]) -> dict[str, Any]:
    """Write a script and its upstream report; runs in a child.

    Returns:
        `script` and `report` (paths) and `lines`, the number of lines of the script; or `refused`,
        the reason why no script of this kind can be written yet.
    """
    try:
        return _written(request, report)
    except Unsupported as error:
        return {"refused": str(error)}


def _written(request: ScriptRequest, report: Callable[[Stage], None]) -> dict[str, Any]:
    from harness.models.case import TinyCase

    job, failure = request.job, request.failure
    report(Stage.BUILD)
    spec = backends.find(job.cell.backend, job.backends_dir)
    backend = backends.load(spec, job.options)
    precision = next(p for p in backend.precisions if p.name == job.cell.precision)
    kind = KINDS.get(failure.stage)
    if kind is None:
        raise Unsupported(f"no script of a failure at {failure.stage}: it is no backend's")
    exported, simple = request.form == EXPORTED, request.form == SIMPLE
    if exported and kind == "program":
        kind = "exported"
    elif simple and kind == "roundtrip" and failure.cause.startswith("CheckFailed"):
        raise Unsupported("a checkpoint beside a script has weights of its own")
    elif exported:
        raise Unsupported(f"no file shows a failure at {failure.stage}")
    template = template_of(spec, "generate" if is_text_of_pipeline(failure) else kind)
    if getattr(backend, "case", None) is not None:
        raise Unsupported(f"{spec.name} makes its cases itself")
    case = TinyCase(job.cell.entry, job.seed, job.size, job.cell.head)
    report(Stage.REFERENCE)
    # A file has arrays beside it anyway.
    inputs = ScriptInputs(case.example_seed, () if exported else ("base", "other"), simple=simple)
    parts, floor = ScriptParts([], ["numpy"], {"model": ""}, {}), 0.0
    if not exported:
        parts, floor = _model(case, job, simple=simple)
    parts.context |= {"kind": kind, "backend": backend, "asked": precision, "greedy": False}
    parts.context["operators"] = ""
    parts.context |= {"precision": precision.name, "options": script_config.options(case.options())}
    parts.context["options_table"] = "".join(
        f", {name!r}: {value!r}" for name, value in case.options().items()
    )
    parts.context["files"] = request.folder / stem(request)
    draft = ScriptDraft(request, case, backend, precision, inputs, parts.context, floor)
    if kind == "generate":
        generation_script(draft)
    elif kind == "pipeline":
        pipeline_script(draft)
    elif kind == "roundtrip":
        roundtrip_script(draft)
    else:
        inference_script(draft)
    if not parts.context["model"]:
        parts.stored.clear()
    parts.stored |= inputs.stored
    if simple and parts.stored:
        raise Unsupported("inputs that no line of text makes belong to the cell's weights")
    parts.imports += parts.context.get("own", [])
    parts.needs += parts.context.get("needs", [])
    return write_script(template, request, parts, backend.probe())


def template_of(spec: BackendSpec, block: str) -> Any:
    """A backend's template of scripts.

    Raises:
        Unsupported: the template does not fill this block.
    """
    name = f"{spec.folder.name}/{TEMPLATE}"
    if not template_has(spec.folder.parent, name, block):
        raise Unsupported(f"{spec.name} has no script of this kind yet: {block}")
    return environment(spec.folder.parent).get_template(name)


def write_script(
    template: Any, request: ScriptRequest, parts: ScriptParts, device: Device
) -> dict[str, Any]:
    """Write a script, its arrays and its upstream report.

    Args:
        template: of the backend.
        request: where to, and of which failure.
        parts: of the script.
        device: where the failure was seen.

    Returns:
        `script` and `report` (paths) and `lines`, the number of lines of the script.
    """
    text = _rendered(template, request, parts, device)
    request.folder.mkdir(parents=True, exist_ok=True)
    path = request.folder / f"{stem(request)}.py"
    path.write_text(text, "utf-8")
    if parts.stored:
        stored: dict[str, Any] = parts.stored
        np.savez_compressed(path.with_suffix(".npz"), **stored)
    about = path.with_suffix(".md")
    versions = script_text.versions(device, parts.needs)
    about.write_text(upstream_report(path, text, request.failure, device, versions), "utf-8")
    return {"script": str(path), "report": str(about), "lines": text.count("\n")}


def _model(case: TinyCase, job: Job, *, simple: bool) -> tuple[ScriptParts, float]:
    """The parts of a script that make the model, and the noise floor of weights not the cell's.

    Args:
        case: with the cell's weights.
        job: of the cell.
        simple: whether the weights are the library's own random ones.

    Raises:
        Unsupported: the model is not sane with those.
    """
    import torch

    built = script_config.construction(case, copy.deepcopy(case.config()))
    torch.manual_seed(job.seed)
    fresh, floor = _fresh(built), 0.0
    stored: Arrays = {}
    code = f"torch.manual_seed({job.seed})\n{built.code}"
    if simple:
        floor = simple_model.noise_floor(fresh.eval(), case)
    else:
        weights = script_weights.seeding(fresh, _tensors(case.module()))
        code, stored = f"{code}\n{weights.code}", dict(weights.stored)
    needs = ["torch", "numpy", *built.needs]
    return ScriptParts([*built.imports], needs, {"model": code}, stored), floor


def environment(folder: Path) -> Environment:
    """Jinja's environment with the templates of backends and of the harness.

    Args:
        folder: of the backends.
    """
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader(
            [FileSystemLoader([folder, BACKENDS]), PackageLoader("harness.diagnosis")]
        ),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def template_has(folder: Path, name: str, block: str) -> bool:
    """Whether a backend's template, or one that it extends, fills a block of the script."""
    file = next((each / name for each in (folder, BACKENDS) if (each / name).is_file()), None)
    if file is None:  # the harness's own template, which has no block of a backend
        return False
    source = file.read_text("utf-8")
    if re.search(rf"{{%-? block {block}\b", source):
        return True
    above = re.search(r"{%-? extends \"([^\"]+)\"", source)
    return above is not None and template_has(folder, above[1], block)


def forms(spec: BackendSpec) -> tuple[str, ...]:
    """The forms of scripts that a backend's template has, the preferred one first."""
    name = f"{spec.folder.name}/{TEMPLATE}"
    has_file = template_has(spec.folder.parent, name, EXPORTED)
    return (EXPORTED, SIMPLE, PLAIN) if has_file else (SIMPLE, PLAIN)


def _fresh(built: script_config.Construction) -> Any:
    """The model that a script's own text makes, with the library's weights."""
    names: dict[str, Any] = {}
    exec("\n".join(["import torch", *built.imports, built.code]), names)
    return names["model"].requires_grad_(False)


def _tensors(module: Any) -> dict[str, Any]:
    return {**dict(module.named_buffers()), **dict(module.named_parameters())}


def _rendered(template: Any, request: ScriptRequest, parts: ScriptParts, device: Device) -> str:
    failure, context = request.failure, parts.context
    guard = failure.outcome in (Outcome.CRASH, Outcome.TIMEOUT)
    given = {**context, "header": "", "imports": [], "guard": guard, "seconds": request.seconds}
    given |= {"stored": bool(parts.stored), "uniform": "", "tensors": ""}
    given["shapes"] = "expected shape" in failure.reason
    where = context["backend"].device.type if hasattr(context["backend"], "device") else "cpu"
    body = template.render(given)
    place = where != "cpu"
    if "tensors(" in body:
        given["tensors"] = TENSORS.format(
            device=', device="cpu"' if place else "", place=", device=device" if place else ""
        ).rstrip()
    if "uniform(" in body:
        given["uniform"] = script_weights.UNIFORM
    body = template.render(given)
    given["imports"] = script_text.imports(body, parts.imports)
    given["header"] = script_text.header(
        request, device, parts.needs, "\n".join([*given["imports"], body])
    )
    return script_text.tidy(template.render(given))
