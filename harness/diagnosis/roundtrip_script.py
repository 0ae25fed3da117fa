"""Script of a failure at roundtrip: a checkpoint beside it that the library does not read right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.contract import Unsupported
from harness.diagnosis.script_draft import ScriptDraft

if TYPE_CHECKING:
    from harness.models.recorded.record import RecordedCheckpoint

_LABEL = re.compile(r"a checkpoint of transformers [\w.]+ \((?P<label>.+?)\)")
_ALIKE = re.compile(r"\) with (?P<named>.+? for the tied .+?) to load alike")
_ALIAS = re.compile(r"(?P<alias>\S+) for the tied \S+")
_PLACES = "to find its place"
_OUTPUTS = re.compile(r"expected (?P<output>\S+) of a checkpoint")

#: A library's exception, as the model is saved and read again. The folder is a path, as in the
#: cell: `TimmBackbone` refuses a path and looks for a string among the models of timm.
AGAIN = """\
{inputs}
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    model = {cls}.from_pretrained(Path(folder), dtype=torch.float32).eval()
with torch.no_grad():
    model(**tensors(inputs, torch.float32){options})
"""

LOAD = """\
folder = Path(__file__).with_suffix("")
model, told = {cls}.from_pretrained(
    folder, output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32
)
"""

#: Every tensor has to find its place.
PLACES = """\
lost = [told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")]
print("expected: every tensor in its place, as in transformers {version}")
print("found: missing {{}}, unexpected {{}}, of another shape {{}}".format(*map(sorted, lost)))
sys.exit(int({missing}))
"""

#: Tied tensors have to load by each of their names.
ALIAS = """\
right = {cls}.from_pretrained(folder / "right", dtype=torch.float32)
pairs = zip(right.state_dict().items(), model.state_dict().values())
wrong = [name for (name, one), other in pairs if not torch.equal(one, other)]
print("expected: the same weights with {named}")
print("found: other values in", wrong)
sys.exit(int(bool(wrong)))
"""

#: The outputs have to be those of the version that saved the checkpoint.
OUTPUTS = """\
{inputs}
with torch.no_grad():
    found = model.eval()(**tensors(inputs, torch.float32){options}){output}
size = float(found.double().pow(2).mean().sqrt())
print("expected: a root mean square of {size}, as in transformers {version}")
print("found: {{:.5g}}".format(size))
sys.exit(int(abs(size / {size} - 1) > 2e-3))
"""


def roundtrip_script(draft: ScriptDraft) -> None:
    """The parts of a script that loads a checkpoint.

    Args:
        draft: of the script; added to.

    Raises:
        Unsupported: the failure is of another kind.
    """
    from harness.models.recorded import files, reading, record

    request, case, context = draft.request, draft.case, draft.context
    reason, folder = request.failure.reason, context["files"]
    context |= {"compares": False, "limit": None, "reference": "", "inputs": ""}
    said = _LABEL.search(reason)
    if said is None and not request.failure.cause.startswith("CheckFailed"):
        text = AGAIN.format(
            inputs=draft.inputs.table("inputs", case.inputs()),
            cls=type(case.module()).__name__,
            options=context["options"],
        )
        context["roundtrip"] = text.rstrip()
        return
    if said is None:
        raise Unsupported(f"no script of this failure yet: {reason}")
    records = map(record.parse, request.job.recorded_checkpoints)
    known: RecordedCheckpoint = next(r for r in records if r.label == said["label"])
    alike = _ALIKE.search(reason)
    aliases = _ALIAS.findall(alike["named"]) if alike else []
    folder.mkdir(parents=True, exist_ok=True)
    files.write(known, folder, aliases=aliases)
    cls = type(case.module()).__name__
    text = LOAD.format(cls=cls)
    if alike:
        (folder / "right").mkdir(exist_ok=True)
        files.write(known, folder / "right")
        text += ALIAS.format(cls=cls, named=alike["named"])
    elif _PLACES in reason:
        kinds = [("found missing", 0), ("unexpected:", 1), ("of another shape:", 2)]
        lost = [f"lost[{i}]" for word, i in kinds if word in reason] or ["any(lost)"]
        text += PLACES.format(version=known.version, missing=f"any([{', '.join(lost)}])")
    else:
        output = _OUTPUTS.search(reason)
        if output is None or output["output"] not in known.outputs:
            raise Unsupported(f"no script of this failure yet: {reason}")
        name = output["output"]
        given = reading.inputs(known)
        told = "".join(f", {k}={v!r}" for k, v in reading.options(known, case.module()).items())
        words = "".join(f"[{w}]" if w.isdigit() else f'["{w}"]' for w in name.split("."))
        text += OUTPUTS.format(
            inputs=draft.inputs.table("inputs", given),
            options=told,
            output=words,
            size=known.outputs[name][0],
            version=known.version,
        )
    context |= {"roundtrip": text.rstrip(), "model": ""}
