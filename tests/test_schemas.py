"""JSON Schemas of the TOML files that people write: current, named, and as strict as readers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft7Validator

from harness.catalog import backend_toml, model_lists
from harness.contract import HarnessError
from harness.nox_sessions import backend_folder
from harness.results import expectations_file, expectations_update
from tools import schemas

ROOT = Path(__file__).resolve().parent.parent
MODEL_LISTS = sorted((ROOT / "model_lists").glob("*.toml"))
EXPECTATIONS = sorted((ROOT / "backends").glob("*/expectations.toml"))
TABLES = [
    ROOT / "harness" / name
    for name in ("catalog/heads.toml", "inputs/recipe.toml", "models/shrink/overrides.toml")
]
FILES = [*MODEL_LISTS, *(ROOT / "backends").glob("*/backend.toml"), *EXPECTATIONS, *TABLES]
SCHEMAS = {name: make() for name, make in schemas.SCHEMAS.items()}


def schema_name(path: Path) -> str:
    """The name of the schema of one of the repository's files."""
    return path.stem if path.stem in SCHEMAS else "model_list"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- the schemas themselves


@pytest.mark.parametrize("path", schemas.texts(), ids=lambda path: path.stem)
def test_a_schema_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == schemas.texts()[path], schemas.FIX


def test_no_schema_is_left_over() -> None:
    assert sorted(schemas.FOLDER.iterdir()) == sorted(schemas.texts())


def test_the_command_writes_what_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schemas, "ROOT", tmp_path)
    monkeypatch.setattr(schemas, "FOLDER", tmp_path / "schemas")
    assert schemas.main([]) == 1
    assert f"schemas/subsets.schema.json is not current. {schemas.FIX}" in capsys.readouterr().out
    assert schemas.main(["--write"]) == 0
    assert schemas.main([]) == 0
    assert len(list((tmp_path / "schemas").iterdir())) == len(SCHEMAS)


def test_the_command_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.schemas"], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_the_drafts_that_taplo_knows(name: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[name])
    Draft4Validator.check_schema(SCHEMAS[name])


def test_defaults_are_those_that_the_readers_take() -> None:
    entry = SCHEMAS["model_list"]["patternProperties"]["^[a-z0-9_]+$"]["properties"]
    assert entry["priority"]["default"] == "medium"
    assert entry["library"]["default"] == "transformers"
    backend = SCHEMAS["backend"]["properties"]
    assert backend["worker"]["default"] == "cell"
    assert backend["heads"]["default"] == "all"
    assert backend["snapshot"]["default"] is False


# ---- the files of this repository


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_is_valid_and_names_its_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = schema_name(path)
    Draft7Validator(SCHEMAS[name]).validate(tomllib.loads(text))
    directive, _, target = text.splitlines()[0].partition(" ")
    assert directive == "#:schema"
    assert (path.parent / target).resolve() == schemas.FOLDER / f"{name}.schema.json"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_editors_find_the_schema_of_a_file_without_that_line(path: Path) -> None:
    """As taplo takes `.taplo.toml`: the patterns are globs on the path from the root."""
    rules = tomllib.loads((ROOT / ".taplo.toml").read_text(encoding="utf-8"))["rule"]
    found = [
        rule["schema"]["path"]
        for rule in rules
        if any(Path(relative(path)).match(pattern) for pattern in rule["include"])
        and not any(Path(relative(path)).match(pattern) for pattern in rule.get("exclude", ()))
    ]
    assert found == [f"docs/schemas/{schema_name(path)}.schema.json"]


def first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)[0]


def test_the_rewriter_of_expectations_keeps_the_line() -> None:
    catalog = model_lists.load()
    for path in EXPECTATIONS:
        rewritten = expectations_update.updated(expectations_file.load(path, catalog), [])
        assert rewritten.startswith(first_line(path))


def test_a_new_file_of_expectations_names_its_schema_where_that_is_in_reach(tmp_path: Path) -> None:
    path = tmp_path / "backends" / "new_one" / "expectations.toml"
    path.parent.mkdir(parents=True)
    catalog = model_lists.load()
    assert expectations_file.load(path, catalog).header.startswith("# What")
    (tmp_path / "docs").symlink_to(ROOT / "docs", target_is_directory=True)
    header = expectations_file.load(path, catalog).header
    assert header.startswith(first_line(EXPECTATIONS[0]) + "# What")


def test_a_new_model_list_names_its_schema() -> None:
    assert first_line(ROOT / "model_lists" / "speech.toml") == model_lists.SCHEMA


# ---- schemas and readers agree


def read_lists(file: str) -> Callable[[Path, str], None]:
    """Reads a text as one of the model lists; another one has bert."""

    def read(folder: Path, text: str) -> None:
        lists = folder / "model_lists"
        lists.mkdir()
        (lists / "encoder_only.toml").write_text('[bert]\narchitecture = "bert"\n')
        (lists / file).write_text(text)
        model_lists.load(folder)

    return read


def read_expectations(folder: Path, text: str) -> None:
    (folder / "expectations.toml").write_text(text)
    loaded = expectations_file.load(folder / "expectations.toml", model_lists.load())
    if loaded.warnings:  # which fail the tests of the repository
        raise HarnessError(loaded.warnings[0])


def read_backend(folder: Path, text: str) -> None:
    """By the harness and by nox, which requires more."""
    path = folder / "backend.toml"
    path.write_text(text)
    backend_toml.read(folder)
    backend_folder.read_backend(path)


READERS: Mapping[str, Callable[[Path, str], None]] = {
    "model_list": read_lists("speech.toml"),
    "unavailable": read_lists(model_lists.UNAVAILABLE),
    "subsets": read_lists(model_lists.SUBSETS),
    "branches": read_lists(model_lists.BRANCHES),
    "expectations": read_expectations,
    "backend": read_backend,
}

ROW = '[[expect]]\nentry = "bert"\nstage = "run"\nowner = "upstream"\nreason = "No kernel."\n'
HARDWARE = 'title = "x"\n[hardware]\npaths = ["/dev/x"]\nfound = "an X"\nfix = "plug it in"\n'
UNAVAILABLE = '[x]\nkind = "unpackaged"\nreason = "y"\n'

RIGHT = [
    ("model_list", ""),
    ("model_list", '[a]\narchitecture = "a"\n'),
    ("model_list", '[a]\narchitecture = "a"\nheads = []\nconfig = { text_config = { a = 1 } }\n'),
    ("model_list", '[a]\narchitecture = "a"\nheads = ["fill-mask"]\npriority = "low"\n'),
    ("unavailable", UNAVAILABLE),
    ("unavailable", UNAVAILABLE.replace("[x]", '["An X"]') + 'spellings = ["\\\\"]\n'),
    ("subsets", '[s]\nabout = "One."\nentries = ["bert"]\n'),
    ("subsets", "[s]\n"),
    ("branches", '[bert_x]\nof = "bert"\nconfig = { a = 1 }\nheads = ["fill-mask"]\n'),
    ("expectations", ""),
    ("expectations", ROW + ROW.replace('"run"', '"verify"') + 'outcome = "fail"\n'),
    ("expectations", ROW.replace('entry = "bert"', 'entries = ["bert", "gpt2"]')),
    ("backend", 'title = "x"\n'),
    ("backend", HARDWARE + 'kinds = ["nvidia-gpu"]\n[environment]\nA = "1"\n'),
    ("backend", HARDWARE.replace('paths = ["/dev/x"]', 'platform = "darwin-arm64"')),
    ("backend", 'title = "x"\npreload = []\npreload_for.a = ["b"]\nruns_on = ["a", "b"]\n'),
]
WRONG = [
    # a misspelt key
    ("model_list", '[a]\narchitecture = "a"\ncheckpiont = "x"\n'),
    ("unavailable", UNAVAILABLE + 'speling = ["z"]\n'),
    ("subsets", '[s]\nentires = ["bert"]\n'),
    ("branches", '[bert_x]\nof = "bert"\nconfig = {}\ncheckpoint = "x/y"\n'),
    ("branches", '[bert_x]\nof = "bert"\n'),
    ("branches", "[bert_x]\nconfig = {}\n"),
    ("branches", '[bert_x]\nof = "bert"\nconfig = {}\nheads = ["fil-mask"]\n'),
    ("expectations", ROW + 'onwer = "ours"\n'),
    ("expectations", ROW.replace("[[expect]]", "[[expects]]")),
    ("backend", 'title = "x"\npreloads = ["a"]\n'),
    ("backend", HARDWARE + 'path = "/dev/y"\n'),
    # another kind
    ("model_list", 'bare = "a"\n'),
    ("model_list", "[a]\narchitecture = 3\n"),
    ("model_list", '[a]\narchitecture = "a"\nrequires = "x"\n'),
    ("model_list", '[a]\narchitecture = "a"\naliases = [1]\n'),
    ("model_list", '[a]\narchitecture = "a"\nconfig = "x"\n'),
    ("unavailable", UNAVAILABLE + "spellings = 1\n"),
    ("subsets", '[s]\nentries = "bert"\n'),
    ("expectations", ROW.replace('"No kernel."', "3")),
    ("expectations", ROW.replace("[[expect]]", "[expect]")),
    ("expectations", ROW.replace('entry = "bert"', 'entries = "bert"')),
    ("backend", 'title = "x"\npreload = "torch"\n'),
    ("backend", 'title = "x"\npreload_for.a = 1\n'),
    ("backend", 'title = "x"\nsnapshot = "yes"\n'),
    ("backend", 'title = "x"\n[environment]\nA = 1\n'),
    ("backend", 'title = "x"\nhardware = 1\n'),
    # none of the choices
    ("model_list", '[a]\narchitecture = "a"\npriority = "hihg"\n'),
    ("model_list", '[a]\narchitecture = "a"\nheads = ["fil-mask"]\n'),
    ("model_list", '[a]\narchitecture = "a"\ntask = "fil-mask"\n'),
    ("unavailable", UNAVAILABLE.replace("unpackaged", "unpacked")),
    ("expectations", ROW.replace('"run"', '"rnu"')),
    ("expectations", ROW.replace('"upstream"', '"upstrem"')),
    ("expectations", ROW + 'outcome = "pass"\n'),
    ("backend", 'title = "x"\nstart_method = "fork"\n'),
    ("backend", 'title = "x"\nworker = "many"\n'),
    ("backend", 'title = "x"\nplatforms = ["windows"]\n'),
    # a key that is missing, blank or one too many
    ("model_list", '[a]\ntask = "fill-mask"\n'),
    ("model_list", '[a]\narchitecture = ""\n'),
    ("model_list", '[A-b]\narchitecture = "a"\n'),
    ("unavailable", '[x]\nreason = "y"\n'),
    ("unavailable", UNAVAILABLE.replace('"y"', '" "')),
    ("subsets", '[s]\nentries = ["bert", "bert"]\n'),
    ("expectations", ROW + 'entries = ["t5"]\n'),
    ("expectations", ROW.replace('entry = "bert"\n', "")),
    ("expectations", ROW.replace('entry = "bert"', "entries = []")),
    ("expectations", ROW.replace('stage = "run"\n', "")),
    ("expectations", ROW.replace('owner = "upstream"\n', "")),
    ("expectations", ROW.replace('"No kernel."', '""')),
    ("backend", 'worker = "cell"\n'),
    ("backend", 'title = ""\n'),
    ("backend", HARDWARE.replace('paths = ["/dev/x"]\n', "")),
    ("backend", HARDWARE.replace('found = "an X"\n', "")),
]


def descriptions(schema: Any) -> list[str]:
    """The descriptions of a schema's properties, at every depth."""
    found = []
    if isinstance(schema, dict):
        for property_ in schema.get("properties", {}).values():
            found += [property_.get("description", "")] if "items" not in property_ else []
        for part in schema.values():
            found += descriptions(part)
    return found


@pytest.mark.parametrize("name", READERS)
def test_every_key_says_what_it_means(name: str) -> None:
    assert all(text.endswith(".") for text in descriptions(SCHEMAS[name]))


@pytest.mark.parametrize(("name", "text"), RIGHT)
def test_what_a_reader_takes_is_valid(name: str, text: str, tmp_path: Path) -> None:
    READERS[name](tmp_path, text)
    Draft7Validator(SCHEMAS[name]).validate(tomllib.loads(text))


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_what_a_reader_refuses_is_not_valid(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises((HarnessError, SystemExit)):
        READERS[name](tmp_path, text)
    assert not Draft7Validator(SCHEMAS[name]).is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("heads", '[a]\nmappings = ["A"]\ngenerate = "input_ids"\n'),
        ("heads", '[a]\ngenerates = "input_ids"\n'),
        ("overrides", "[a]\nsets = { b = 1 }\n"),
        ("overrides", '[a]\nkeep = "b"\n'),
        ("overrides", "[a]\nsubs = { b = 1 }\n"),
        ("recipe", "[a]\nshape = { b = [1] }\n"),
        ("recipe", "[a]\nshapes = { b = 1 }\n"),
        ("recipe", '[a]\nlength = "3"\n'),
    ],
)
def test_a_table_of_the_harness_is_refused(name: str, text: str) -> None:
    """Editors see what its reader, which trusts the repository, would pass over."""
    assert not Draft7Validator(SCHEMAS[name]).is_valid(tomllib.loads(text))
