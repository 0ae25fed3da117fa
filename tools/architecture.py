"""Diagram of the harness: its wings and who imports whom, made from the imports.

python -m tools.architecture            print the diagram (Mermaid)
python -m tools.architecture --write    write it into docs/architecture.md
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.toolkit.marked_text import write_between

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- diagram: `python -m tools.architecture --write` -->"
END = "<!-- end of diagram -->"


def part_of(module: str) -> str:
    """The box of the diagram in which a module lies; empty for what has none.

    A wing of the harness is a box, and so are what backends share and the backends themselves.
    """
    top, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    if top == "harness":
        return "" if name.startswith("__") else name
    if top == "backends":
        return "backends/_shared" if name == "_shared" else "backends/NAME"
    return ""


def imported(tree: ast.AST) -> Iterator[str]:
    """The project's modules and packages that a file's statements import, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imports(root: Path) -> dict[str, set[str]]:
    """Each box, and the other boxes that its modules import."""
    found: dict[str, set[str]] = {}
    for top in ("harness", "backends"):
        for path in sorted(root.glob(f"{top}/**/*.py")):
            box = part_of(".".join(path.relative_to(root).with_suffix("").parts))
            if not box:
                continue
            others = found.setdefault(box, set())
            tree = ast.parse(path.read_text(encoding="utf-8"))
            others |= {part_of(name) for name in imported(tree)} - {"", box}
    return found


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """A graph without circles, without the edges that follow from others (transitive reduction)."""

    def reached(node: str) -> set[str]:
        return set().union(*({other} | reached(other) for other in graph.get(node, ())))

    return {
        node: others - set().union(*(reached(other) for other in others))
        for node, others in graph.items()
    }


def diagram(root: Path = ROOT) -> str:
    """The boxes and arrows as Mermaid; an arrow that follows from others is left out."""
    arrows = [
        f"    {node(box)} --> {node(other)}"
        for box, others in sorted(reduced(imports(root)).items())
        for other in sorted(others)
    ]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def node(box: str) -> str:
    """A box as Mermaid takes it, whose names hold no slash."""
    return f"{box.replace('/', '_')}[{box}]" if "/" in box else box


def main() -> int:
    """Print the diagram, or write it between the marks of docs/architecture.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if not parser.parse_args().write:
        print(diagram())
        return 0
    write_between(DOCUMENT, BEGIN, END, diagram())
    return 0


if __name__ == "__main__":
    sys.exit(main())
