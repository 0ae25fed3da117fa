"""Mutations of every TOML file that people write: each is read, or refused with a message.

    .nox/mock/bin/python -m benchmarks.toml_mutations             # 1,000 mutations, half a minute
    .nox/mock/bin/python -m benchmarks.toml_mutations --quick     # 100
    .nox/mock/bin/python -m benchmarks.toml_mutations --seed 7    # others

A mutation spoils one file in memory: a character, a line, a value, a name, the encoding. Its reader
must answer with its tables or a `HarnessError` that names the file. A name that was misspelt and is
read all the same is printed: such a typo changes something in silence.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from harness.catalog import backend_toml, exemptions, heads, model_lists
from harness.catalog.chosen_lists import OURS
from harness.contract import HarnessError
from harness.inputs import config_reader, placeholders, recipe, wanted
from harness.models import (
    config_fields,
    example_seeds,
    forward_methods,
    from_diffusers,
    function_defaults,
    weights,
)
from harness.models.shrink import overrides, rules
from harness.results import expectations_file
from harness.toolkit import padding_exemptions
from harness.toolkit.checkout import ROOT

COUNT, QUICK = 1000, 100
#: Bytes of a mutation that are printed of it.
SHOWN = 100

#: Readers of the tables in `harness/`, each past its cache.
TABLES: Mapping[str, Callable[[], object]] = {
    "catalog/exemptions.toml": exemptions.exemptions.__wrapped__,
    "catalog/heads.toml": heads.known_heads.__wrapped__,
    "inputs/config_reader.toml": config_reader.fields,
    "inputs/placeholders.toml": placeholders.media.__wrapped__,
    "inputs/recipe.toml": recipe.recipes.__wrapped__,
    "inputs/wanted.toml": wanted.arguments,
    "models/config_fields.toml": config_fields.undeclared.__wrapped__,
    "models/example_seeds.toml": example_seeds.table,
    "models/forward_methods.toml": forward_methods.forward_methods.__wrapped__,
    "models/from_diffusers.toml": from_diffusers.tables.__wrapped__,
    "models/function_defaults.toml": function_defaults.caps.__wrapped__,
    "models/shrink/overrides.toml": overrides.overrides.__wrapped__,
    "models/shrink/rules.toml": rules.rules.__wrapped__,
    "models/weights.toml": weights.weight_rules.__wrapped__,
    "toolkit/padding_exemptions.toml": padding_exemptions.exemptions.__wrapped__,
}

#: TOML text that stands in the place of a value.
VALUES = (
    "9" * 5000, "0x" + "f" * 5000, "-9223372036854775809", "1e400", "nan", "-inf", "1e-400",
    "[" * 2000, "[" * 40 + "]" * 40, "{a = " * 2000, "[[[1]]]", "[1, 'a', true]", "[]", "{}",
    "{a = 1}", "true", "0", "-1", "1.5", '""', '"\\u0000"', '"x"', '["x"]', "'('", "2026-11-29",
    "07:50:50", "2026-02-30T00:00:00Z", f'"{"x" * 10_000}"',
)  # fmt: skip


#: Kinds of mutation; the likelier ones stand here more often.
KINDS = (
    "character", "line dropped", "line twice", "value", "value", "value", "key", "key", "table",
    "string", "encoding", "stray line",
)  # fmt: skip
#: Where the names are that a mutation misspells.
NAMES: Mapping[str, str] = {
    "key": r"[\w.\"]+(?=\s*=)",
    "table": r"\w[\w.-]+",
    "string": r"(?<=\").{3,}?(?=\")",
}


@dataclass(frozen=True, slots=True)
class Mutation:
    """A spoilt file.

    Attributes:
        kind: what was done to it.
        detail: the line that came of it, or a word.
        data: the whole file.
    """

    kind: str
    detail: str
    data: bytes


def readers() -> Mapping[Path, Callable[[], object]]:
    """The reader of each TOML file of the repository that people write."""
    catalog = model_lists.load()
    found: dict[Path, Callable[[], object]] = {}
    for path in sorted((ROOT / "model_lists").glob("*.toml")):
        found[path] = model_lists.load
    found[OURS / model_lists.EXPECTATIONS] = lambda: expectations_file.load_library(OURS, catalog)
    for path in sorted((ROOT / "backends").glob("*/backend.toml")):
        found[path] = lambda folder=path.parent: backend_toml.read(folder)  # type: ignore[misc]
    for path in sorted((ROOT / "backends").glob("*/expectations.toml")):
        found[path] = lambda path=path: expectations_file.load(path, catalog)  # type: ignore[misc]
    return found | {ROOT / "harness" / name: read for name, read in TABLES.items()}


def mutated(data: bytes, draw: random.Random) -> Mutation:
    """One mutation of a file."""
    lines = data.decode().split("\n")
    kind = draw.choice(KINDS)
    if kind == "encoding":
        name, spoilt = draw.choice(
            [
                ("byte order mark", b"\xef\xbb\xbf" + data),
                ("utf-16", data.decode().encode("utf-16")),
                ("stray byte", data + b"\n# \xff\n"),
                ("NUL", data.replace(b"\n", b"\n\0", 1)),
                ("truncated", data[: draw.randrange(len(data))]),
                ("carriage returns", data.replace(b"\n", b"\r\n")),
                ("nothing", b""),
            ]
        )
        return Mutation(f"encoding: {name}", name, spoilt)
    at = draw.choice(_places(lines, kind))
    line = lines[at]
    if kind == "character":
        index = draw.randrange(len(line))
        lines[at] = line[:index] + draw.choice("[]{}\"'=.,#\\x\t") + line[index + 1 :]
    elif kind == "line dropped":
        lines[at] = ""
    elif kind == "line twice":
        lines[at] = f"{line}\n{line}"
    elif kind == "value":
        lines[at] = line.partition("=")[0] + "= " + draw.choice(VALUES)
    elif kind == "stray line":
        name = f"stray = {draw.choice(VALUES)}"
        lines[at] = draw.choice([f"{line}\n{name}", f"{line}\n[stray]\n{name}", f"{name}\n{line}"])
    else:
        lines[at] = re.sub(NAMES[kind], lambda match: _misspelt(match[0], draw), line, count=1)
    return Mutation(kind, lines[at], "\n".join(lines).encode())


def _places(lines: Sequence[str], kind: str) -> list[int]:
    patterns = {
        "value": r"^\s*[\w.\"-]+\s*=",
        "key": r"^\s*[\w.]{3,}\s*=",
        "table": r"^\[+\w[\w.-]{2,}\]+",
        "string": r"^[^#]*\".{3,}\"",
    }
    pattern = re.compile(patterns.get(kind, r"^[^#]"))
    return [i for i, line in enumerate(lines) if pattern.search(line)] or [
        i for i, line in enumerate(lines) if line
    ]


def _misspelt(word: str, draw: random.Random) -> str:
    index = draw.randrange(len(word) - 1) if len(word) > 1 else 0
    return word[:index] + word[index + 1 : index + 2] + word[index : index + 1] + word[index + 2 :]


def read(path: Path, data: bytes, reader: Callable[[], object]) -> BaseException | None:
    """The exception of a reader whose file holds other bytes; None where it reads them."""
    plain = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        return data if self == path else plain(self)

    with mock.patch.object(Path, "read_bytes", read_bytes):
        try:
            reader()
        except Exception as error:
            return error
    return None


def same(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same tables."""
    try:
        return tomllib.loads(one.decode()) == tomllib.loads(other.decode())
    except (ValueError, RecursionError):
        return False


def main(words: Sequence[str] | None = None) -> int:
    """Mutates, reads, and prints the tally.

    Returns:
        0 where no mutation ended in a traceback, 1 otherwise.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} mutations")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0")
    args = parser.parse_args(words)
    draw = random.Random(args.seed)
    files = readers()
    tally: Counter[str] = Counter()
    silent: list[str] = []
    for number in range(QUICK if args.quick else COUNT):
        path = list(files)[number % len(files)]
        data = path.read_bytes()
        mutation = mutated(data, draw)
        while mutation.data == data:
            mutation = mutated(data, draw)
        error = read(path, mutation.data, files[path])
        name = path.relative_to(ROOT).as_posix()
        said = f"{name}: {mutation.kind}: {mutation.detail[:SHOWN]!r}"
        if isinstance(error, HarnessError):
            named = ".toml" in str(error) and "Fix: " in str(error)
            tally["refused with a message" if named else "refused, file not named"] += 1
            if not named:
                print(f"no file: {said}\n  {error}")
        elif error is not None:
            tally["tracebacks"] += 1
            print(f"traceback: {said}")
            print("".join(traceback.format_exception(error)[-3:]))
        elif same(data, mutation.data):
            tally["accepted, the same tables"] += 1
        else:
            tally["accepted, other tables"] += 1
            if mutation.kind in ("key", "table", "string"):
                silent.append(said)
    print(*(f"misspelt and accepted: {said}" for said in silent), sep="\n")
    print(f"{sum(tally.values())} mutations of {len(files)} files, seed {args.seed}")
    for kind, count in tally.most_common():
        print(f"{count:5} {kind}")
    print(f"{tally['tracebacks']:5} tracebacks (claim: 0)")
    return int(tally["tracebacks"] > 0)


if __name__ == "__main__":
    sys.exit(main())
