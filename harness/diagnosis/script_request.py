"""Request of a script: the cell, one of its failures, and the form in which it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.cell.request import Job
from harness.contract import CellFailure

#: The template of a backend's scripts, in its folder; it extends `templates/script.py.jinja`.
TEMPLATE = "repro.py.jinja"

#: Forms of a script: the model's own code with the weights of the cell, the same with the library's
#: own random ones, or a file that the backend has made of it.
PLAIN, SIMPLE, EXPORTED = "plain", "simple", "exported"

#: The input, or the way of using a cache, that a reason names.
_PLACE = re.compile(r"(?<=on input ')[^']+|(?<=generate, )[^:]+")


@dataclass(frozen=True, slots=True)
class ScriptRequest:
    """A failure to be shown by a script.

    Attributes:
        job: the cell.
        failure: one of its failures.
        folder: where the script goes.
        form: `plain`, `simple` or `exported`.
        seconds: after which a script calls what it runs hung.
        about: the part of the model that the script shows; empty for the model.
    """

    job: Job
    failure: CellFailure
    folder: Path
    form: str = PLAIN
    seconds: int = 120
    about: str = ""


def stem(request: ScriptRequest) -> str:
    """The name of a script without its ending, such as `aimv2_torch_cpu_default_verify_base`."""
    cell, failure = request.job.cell, request.failure
    words = [cell.label, cell.backend, cell.precision, failure.stage]
    words = [*words, *_PLACE.findall(failure.reason)][:5]
    if request.form not in (PLAIN, SIMPLE):
        words.append(request.form)
    return re.sub(r"\W+", "_", " ".join(words)).strip("_")
