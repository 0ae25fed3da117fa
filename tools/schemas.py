"""JSON Schemas of the TOML files that people write, made from the declarations that readers check.

python -m tools.schemas            1 where a schema of docs/schemas is not current
python -m tools.schemas --write    write them

Each file names its schema in a `#:schema` line, and `.taplo.toml` names it for every file of its
kind: editors with taplo (in VS Code: Even Better TOML) complete keys and refuse misspelt ones. Only
keywords that draft 4 has too are used, since taplo knows no later draft in full.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.catalog import backend_spec, backend_toml, model_lists
from harness.catalog.heads import Head
from harness.contract import Entry
from harness.inputs.recipe import Recipe
from harness.models.shrink.overrides import ConfigOverride
from harness.results import expectations_file
from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_keys import (
    ANY,
    BOOLEAN,
    INTEGER,
    INTEGERS,
    NUMBER,
    SIZES,
    STRING,
    STRINGS,
    TABLE,
    Key,
)

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "schemas"

FIX = "Fix: python -m tools.schemas --write"

Schema = dict[str, Any]

TYPES: Mapping[str, Schema] = {
    STRING: {"type": "string"},
    STRINGS: {"type": "array", "items": {"type": "string"}},
    TABLE: {"type": "object"},
    BOOLEAN: {"type": "boolean"},
    INTEGER: {"type": "integer"},
    INTEGERS: {"type": "array", "items": {"type": "integer"}},
    SIZES: {"type": "array", "items": {"type": ["integer", "string"]}},
    NUMBER: {"type": "number"},
    ANY: {},
}


def value(key: Key) -> Schema:
    """The schema of a key's value; a string that has to be there may not be blank."""
    schema: Schema = {"description": key.about} if key.about else {}
    schema |= TYPES[key.kind]
    if key.choices and key.kind == STRINGS:
        schema["items"] = {"type": "string", "enum": [*key.choices]}
    elif key.choices:
        schema["enum"] = [*key.choices]
    elif key.required and key.kind == STRING:
        schema["pattern"] = r"\S"
    if isinstance(key.keys, Key):
        schema["additionalProperties"] = value(key.keys)
    elif key.keys:
        schema |= table(key.keys)
    return schema


def table(keys: Mapping[str, Key], made: type | None = None) -> Schema:
    """The schema of a table.

    Args:
        keys: those that it may have.
        made: the dataclass that the reader makes of it, whose defaults are the table's.
    """
    properties = {name: value(key) for name, key in keys.items()}
    for field in dataclasses.fields(made) if made else ():
        plain = isinstance(field.default, bool | str | tuple)
        if plain and field.name in properties and field.default not in ("", ()):
            properties[field.name]["default"] = field.default
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := [name for name, key in keys.items() if key.required]:
        schema["required"] = required
    return schema


def named(tables: Schema, names: str = "") -> Schema:
    """The schema of a file that has tables of one kind under names of their own.

    Args:
        tables: the schema of each.
        names: a regular expression; empty: any name.
    """
    if not names:
        return {"type": "object", "additionalProperties": tables}
    return {
        "type": "object",
        "patternProperties": {f"^{names}$": tables},
        "additionalProperties": False,
    }


def model_list() -> Schema:
    """One of model_lists/FAMILY.toml."""
    return named(table(model_lists.ENTRY_KEYS, Entry), model_lists.NAME.pattern)


def unavailable() -> Schema:
    """model_lists/unavailable.toml."""
    return named(table(model_lists.UNAVAILABLE_KEYS))


def subsets() -> Schema:
    """model_lists/subsets.toml."""
    subset = table(model_lists.SUBSET_KEYS)
    subset["properties"]["entries"]["uniqueItems"] = True
    return named(subset)


def branches() -> Schema:
    """model_lists/branches.toml."""
    return named(table(model_lists.BRANCH_KEYS), model_lists.NAME.pattern)


def backend() -> Schema:
    """backends/NAME/backend.toml, as both the harness and noxfile.py take it."""
    schema = table(backend_toml.KEYS, backend_spec.BackendSpec)
    hint = schema["properties"]["hardware"]
    hint["anyOf"] = [{"required": ["paths"]}, {"required": ["platform"]}]
    return schema


def expectations() -> Schema:
    """backends/NAME/expectations.toml."""
    row = table(expectations_file.KEYS)
    for more in ("entries", "stages"):
        row["properties"][more]["minItems"] = 1
    either = [("entry", "entries"), ("stage", "stages")]
    row["allOf"] = [{"oneOf": [{"required": [key]} for key in keys]} for keys in either]
    rows = {"type": "array", "items": row}
    return {"type": "object", "properties": {"expect": rows}, "additionalProperties": False}


def heads() -> Schema:
    """harness/catalog/heads.toml."""
    return named(table(keys_of(Head, without=("name",))))


def overrides() -> Schema:
    """harness/models/shrink/overrides.toml."""
    return named(table(keys_of(ConfigOverride)))


def recipe() -> Schema:
    """harness/inputs/recipe.toml."""
    return named(table(keys_of(Recipe)))


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "model_list": model_list,
    "unavailable": unavailable,
    "subsets": subsets,
    "branches": branches,
    "backend": backend,
    "expectations": expectations,
    "heads": heads,
    "overrides": overrides,
    "recipe": recipe,
}


def texts() -> dict[Path, str]:
    """Path -> text of each schema, as it should be."""
    found = {}
    for name, make in SCHEMAS.items():
        schema = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$comment": "Generated: `python -m tools.schemas --write`.",
            "title": (make.__doc__ or "").removesuffix("."),
            **make(),
        }
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        found[FOLDER / f"{name}.schema.json"] = text
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Say which schemas are not current, or write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write what is not current")
    write = parser.parse_args(words).write
    stale = [
        (path, text)
        for path, text in texts().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        name = path.relative_to(ROOT).as_posix()
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
        else:
            print(f"{name} is not current. {FIX}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
