"""Check of declarative Jenkins pipelines without Jenkins: Groovy's grammar, and the sections.

python -m tools.jenkinsfile FILE...    1 where a file is none

Groovy is read by groovy-parser. Which section can stand in which, `tools/jenkinsfile.toml` has from
Jenkins' documentation; names and arguments of steps are their plugins', and are not checked.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_suffix(".toml")

#: The rules of groovy-parser's grammar that a statement has.
STATEMENTS = {"block_statement", "script_statement"}


@dataclass(frozen=True, slots=True)
class Section:
    """A statement of a pipeline: its first word, and the statements of its block."""

    name: str
    inside: tuple[Section, ...]


def sections(text: str) -> tuple[Section, ...]:
    """The statements of a Jenkinsfile.

    Raises:
        lark.exceptions.LarkError: it is no Groovy.
    """
    from groovy_parser.parser import digest_lark_tree, parse_groovy_content

    return tuple(_sections(digest_lark_tree(parse_groovy_content(text))))


def _sections(node: Mapping[str, Any]) -> Iterator[Section]:
    for child in node.get("children", ()):
        if STATEMENTS & set(child.get("rule", ())):
            yield Section(_first_word(child), tuple(_sections(child)))
        else:
            yield from _sections(child)


def _first_word(node: Mapping[str, Any]) -> str:
    """The first identifier of a statement."""
    if node.get("leaf") == "IDENTIFIER":
        return str(node["value"])
    return next(filter(None, map(_first_word, node.get("children", ()))), "")


def faults(section: Section, where: str = "") -> list[str]:
    """Faults of a section and those inside of it, a line each.

    Args:
        section: a statement with its block.
        where: the sections around it, as `pipeline > stages`.
    """
    rules = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    path = f"{where} > {section.name}".removeprefix(" > ")
    rule = rules.get(section.name)
    if rule is None:
        return []
    names = [inside.name for inside in section.inside]
    found = [
        f"{path}: expected one of {', '.join(rule['can'])}, found {name}"
        for name in names
        if name not in rule["can"]
    ]
    missing = [name for name in rule.get("must", ()) if name not in names]
    found += [f"{path}: expected {name}, found none" for name in missing]
    if "one" in rule and len(chosen := [name for name in names if name in rule["one"]]) != 1:
        wanted, seen = ", ".join(rule["one"]), ", ".join(chosen) or "none"
        found.append(f"{path}: expected exactly one of {wanted}, found {seen}")
    return [*found, *(fault for inside in section.inside for fault in faults(inside, path))]


def check(path: Path) -> list[str]:
    """Faults of a file, a line each."""
    from lark.exceptions import LarkError

    try:
        found = sections(path.read_text(encoding="utf-8"))
    except LarkError as error:
        return [f"expected Groovy, found: {str(error).strip().splitlines()[0]}"]
    if [section.name for section in found] != ["pipeline"]:
        names = ", ".join(section.name for section in found) or "nothing"
        return [f"expected one pipeline {{ }}, found {names}"]
    return faults(found[0])


def main(arguments: Sequence[str]) -> int:
    """Print the faults of files; returns 1 where there are any."""
    lines = [f"{name}: {fault}" for name in arguments for fault in check(Path(name))]
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
