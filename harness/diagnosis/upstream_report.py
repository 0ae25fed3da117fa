"""Text of an upstream report: a filled-in Markdown file beside a script."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path

from harness.contract import CellFailure, Device
from harness.toolkit import markdown_text


def upstream_report(
    script: Path, text: str, failure: CellFailure, device: Device, versions: Mapping[str, str]
) -> str:
    """The report of a failure, for an issue tracker.

    Args:
        script: the script that shows the failure.
        text: of the script.
        failure: which one.
        device: where it was seen.
        versions: of the packages, by name.
    """
    title = text.partition("\n")[0].strip('"').strip()
    own = {script.suffix, ".md"}
    found = sorted(path.name for path in script.parent.glob(f"{script.stem}*"))
    beside = [
        name for name in found if Path(name).stem == script.stem and Path(name).suffix not in own
    ]
    packages = "\n".join(f"- {name} {found}" for name, found in versions.items())
    code = re.sub(r'^""".*?"""\n+', "", text, count=1, flags=re.DOTALL)
    names = ", ".join(f"`{name}`" for name in beside)
    attached = f"Attached, and read by it: {names}.\n\n" if beside else ""
    return f"""\
# {title}

## Where

{packages}
- Python {platform.python_version()}, {platform.system()} {platform.machine()}
- {markdown_text.plain(", ".join(filter(None, [device.name, device.driver])))}

## Repro

{attached}```python
{code.rstrip()}
```

## Observed

```text
{failure.reason}
```

## Expected

{EXPECTED.get(str(failure.stage), EXPECTED["run"])}
"""


#: The expectation of each stage; a comparison's is its reference.
EXPECTED: Mapping[str, str] = {
    "prepare": "The model is converted and compiled without an error.",
    "run": "The model runs without an error.",
    "verify": "The outputs of plain eager execution on a CPU in float64, up to rounding.",
    "generate": "The logits of one inference over the whole text, up to rounding.",
    "pipeline": "The pipeline runs, and gives what the model gives.",
    "roundtrip": "The checkpoint loads, with every tensor in its place.",
}
