"""Reader of the model lists under `model_lists/`: entries, unavailable models and subsets.

`load` checks every list whole. A mistake is one `HarnessError` with the file, the line, what was
expected and the edit that fixes it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from harness.catalog import checkpoints
from harness.catalog.heads import known_heads, known_tasks
from harness.catalog.selection import ALL, Catalog, UnavailableModel
from harness.contract import FAMILIES, PRIORITIES, Entry, HarnessError
from harness.toolkit.checkout import ROOT, shown_path
from harness.toolkit.close_matches import did_you_mean, misspelt, normalise
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import STRINGS, TABLE, Key

FOLDER = "model_lists"
UNAVAILABLE = "unavailable.toml"
SUBSETS = "subsets.toml"
BRANCHES = "branches.toml"
#: Faults of the libraries; `harness/results/expectations_file.py` reads them.
EXPECTATIONS = "expectations.toml"
#: The first line of a list, for editors.
SCHEMA = "#:schema ../docs/schemas/model_list.schema.json\n"
#: TOML has no null; this string in a `config` stands for None.
NULL = "null"

KINDS = ("closed-weights", "not-a-model", "remote-code", "unpackaged")
#: The keys of an entry, in the order in which a list has them.
ENTRY_KEYS: Mapping[str, Key] = {
    "architecture": Key(
        "The model type as transformers spells it, or the class in another library.", required=True
    ),
    "checkpoint": Key("A repository on the Hugging Face hub; `--weights pretrained` downloads it."),
    "revision": Key("A commit, branch or tag of that repository; its main branch by default."),
    "task": Key(
        "What the model is for, as the hub's pipeline tags name it where they do.",
        choices=known_tasks(),
    ),
    "heads": Key(
        "The tasks whose heads are further cells; by default the one in `task`, if it has a head.",
        STRINGS,
        choices=tuple(known_heads()),
    ),
    "family": Key("Its family, in a list that is not named after one.", choices=tuple(FAMILIES)),
    "priority": Key("How widely it is used.", choices=PRIORITIES),
    "library": Key("The package that has the model."),
    "requires": Key(
        "What pip must find for the entry to be there; without it the entry is absent.", STRINGS
    ),
    "aliases": Key("Names that differ by more than case and punctuation.", STRINGS),
    "notes": Key("One sentence that a user should know."),
    "config": Key(
        "What makes this model differ from its architecture's default config, with the published "
        'values; the string "null" stands for None.',
        TABLE,
    ),
}
UNAVAILABLE_KEYS: Mapping[str, Key] = {
    "kind": Key("Why nobody can run it, in a word.", choices=KINDS, required=True),
    "reason": Key("Why nobody can run it, in a sentence.", required=True),
    "spellings": Key("How the name is written where that is not the name itself.", STRINGS),
}
SUBSET_KEYS: Mapping[str, Key] = {
    "about": Key("What the subset is good for."),
    "entries": Key("Its entries, each once.", STRINGS),
}
BRANCH_KEYS: Mapping[str, Key] = {
    "of": Key(
        "The entry of the architecture, whose other keys the branch has too; its priority is low.",
        required=True,
    ),
    "config": Key(
        "What the published configs switch, with small values where a size is switched on; the "
        'string "null" stands for None.',
        TABLE,
        required=True,
    ),
    "heads": Key(
        "The tasks whose heads are its cells; by default the first one of the entry, or else the "
        "headless model.",
        STRINGS,
        choices=tuple(known_heads()),
    ),
    "family": Key(
        "Its family, where the switches change what may see what; by default the entry's.",
        choices=FAMILIES,
    ),
    "notes": Key("Which checkpoints switch so, or what the branch is."),
}
#: Libraries of models, and the one that all of them stand on; others may be named.
LIBRARIES = ("transformers", "diffusers", "timm", "torch_geometric", "torch")
#: An entry's name.
NAME = re.compile(r"[a-z0-9_]+")


def load(root: Path = ROOT) -> Catalog:
    """Read `root/model_lists/*.toml`.

    Raises:
        HarnessError: the lists are missing, or one of them is wrong.
    """
    return read(root / FOLDER, root=root)


def read(*paths: Path, root: Path = ROOT) -> Catalog:
    """Read lists.

    Args:
        paths: folders of lists, and single lists.
        root: from which messages tell their paths.

    Raises:
        HarnessError: a list is missing or wrong, or two have the same name.
    """
    return ListReader(paths, root).read()


class ListReader:
    """Reads the lists file by file; no name may stand for two entries, in one file or in two."""

    def __init__(self, paths: Sequence[Path], root: Path) -> None:
        self.paths = paths
        self.root = root
        self.entries: dict[str, Entry] = {}
        self.files: dict[str, Path] = {}
        self.spellings: dict[str, str] = {}

    def read(self) -> Catalog:
        """Every list, checked whole.

        Raises:
            HarnessError: a list is missing or wrong.
        """
        unavailable: dict[str, UnavailableModel] = {}
        subsets: dict[str, tuple[str, ...]] = {}
        special: dict[str, list[TomlFile]] = {}
        for path in itertools.chain.from_iterable(map(_files, self.paths)):
            if path.name == EXPECTATIONS:
                continue
            source = TomlFile(path, self._shown(path))
            if path.name in (UNAVAILABLE, SUBSETS, BRANCHES):
                special.setdefault(path.name, []).append(source)
            else:
                self._read_family(source)
        for source in special.get(BRANCHES, ()):
            self._read_branches(source)
        for source in special.get(UNAVAILABLE, ()):
            unavailable |= self._read_unavailable(source)
        for source in special.get(SUBSETS, ()):
            subsets |= self._read_subsets(source)
        return Catalog(self.entries, unavailable, subsets, self.files, self.spellings)

    def _shown(self, path: Path) -> str:
        inside = path.is_relative_to(self.root)
        return path.relative_to(self.root).as_posix() if inside else shown_path(path)

    def _read_family(self, source: TomlFile) -> None:
        for name, table in source.tables.items():
            entry = self._entry(source, name, table)
            for spelling in (name, *entry.aliases):
                self._claim(source, name, spelling)
            self.entries[name] = entry
            self.files[name] = source.path

    def _family(self, source: TomlFile, name: str, table: Mapping[str, Any]) -> str:
        """The family of an entry: that in the list's name, else its own."""
        stem = source.path.stem.replace("_", "-")
        given = table.get("family", stem)
        if given in FAMILIES and (stem not in FAMILIES or given == stem):
            return str(given)
        known = [family.replace("-", "_") for family in FAMILIES]
        raise source.error(
            name,
            "family" if "family" in table else "",
            f"`family`, one of {', '.join(FAMILIES)}, in a list that is not named after one",
            f"{source.path.name} with {table.get('family', 'none')}."
            f"{did_you_mean(source.path.stem, known)}",
            f'add `family = "{FAMILIES[0]}"`, or rename the file'
            if stem not in FAMILIES
            else "drop it: the name of the list has the family",
        )

    def _entry(self, source: TomlFile, name: str, table: Any) -> Entry:
        source.check_table(name, table, ENTRY_KEYS)
        family = self._family(source, name, table)
        if not NAME.fullmatch(name):
            raise source.error(
                name, "", "a name of a-z, 0-9 and _", f"{name!r}", "spell it in snake_case"
            )
        if not table.get("architecture"):
            raise source.error(
                name,
                "architecture",
                "an architecture (the library's model type or class name)",
                repr(table["architecture"]) if "architecture" in table else "none",
                f'add `architecture = "{name}"` or what the library calls it',
            )
        checkpoint = table.get("checkpoint", "")
        if checkpoint and not checkpoints.NAME.fullmatch(checkpoint):
            raise source.error(
                name,
                "checkpoint",
                "a repository on the hub, as ORGANISATION/NAME",
                repr(checkpoint),
                "correct it; a folder DIR/acme/bert is `acme/bert`, run with --checkpoints DIR",
            )
        revision = table.get("revision", "")
        if revision and not (checkpoint and checkpoints.REVISION.fullmatch(revision)):
            raise source.error(
                name,
                "revision",
                "a commit, branch or tag of its `checkpoint`",
                repr(revision),
                "correct it" if checkpoint else "name the checkpoint too",
            )
        self._check_packages(source, name, table)
        task = table.get("task", "")
        heads = table.get("heads", [task] if task in known_heads() else [])
        _check_heads(source, name, heads)
        config = table.get("config", {})
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        values |= {"heads": tuple(heads), "config": with_none(config), "family": family}
        return Entry(name=name, **values)

    def _check_packages(self, source: TomlFile, name: str, table: Any) -> None:
        """Refuse a requirement that pip does not take, and a known package that is misspelt.

        An entry whose packages are missing is absent, which no run complains of.
        """
        for requirement in table.get("requires", ()):
            try:
                package = Requirement(requirement).name
            except InvalidRequirement as error:
                raise source.error(
                    name,
                    "requires",
                    'requirements as pip takes them, as in ["transformers<=4.57.6"]',
                    f"{requirement!r} ({str(error).splitlines()[0]})",
                    "correct it",
                ) from None
            self._check_package(source, name, "requires", package)
        self._check_package(source, name, "library", table.get("library", LIBRARIES[0]))

    def _check_package(self, source: TomlFile, name: str, key: str, package: str) -> None:
        meant = misspelt(package, LIBRARIES)
        if meant:
            raise source.error(
                name, key, f"a package, as `{meant}`", repr(package), f"write `{meant}`"
            )

    def _claim(self, source: TomlFile, name: str, spelling: str) -> None:
        owner = self.spellings.setdefault(normalise(spelling), name)
        if owner != name or name in self.entries:
            other = self._shown(self.files[owner])
            same = "" if owner == spelling else f" (as `{owner}`)"
            raise source.error(
                name,
                "",
                "a name that no other entry has",
                f"`{spelling}`, which {other} has{same}",
                "rename or drop one of the two",
            )

    def _read_branches(self, source: TomlFile) -> None:
        listed = dict(self.entries)
        for name, table in source.tables.items():
            source.check_table(name, table, BRANCH_KEYS)
            whole = listed.get(table["of"])
            if whole is None:
                raise source.error(
                    name,
                    "of",
                    "an entry of another list",
                    f"{table['of']!r}.{did_you_mean(table['of'], listed)}",
                    "correct it",
                )
            if not name.startswith(f"{whole.name}_") or not NAME.fullmatch(name):
                raise source.error(
                    name,
                    "",
                    f"a name of a-z, 0-9 and _ that begins with {whole.name}_",
                    f"{name!r}",
                    "rename it after what it switches",
                )
            heads = tuple(table.get("heads", whole.heads[:1]))
            _check_heads(source, name, heads)
            self._claim(source, name, name)
            self.entries[name] = replace(
                whole,
                name=name,
                family=table.get("family", whole.family),
                priority="low",
                config=_merged(whole.config, with_none(table["config"])),
                heads=heads,
                checkpoint="",
                revision="",
                aliases=(),
                notes=table.get("notes", ""),
                branch_of=whole.name,
            )
            self.files[name] = source.path

    def _read_unavailable(self, source: TomlFile) -> dict[str, UnavailableModel]:
        models = {}
        for name, table in source.tables.items():
            source.check_table(name, table, UNAVAILABLE_KEYS)
            if not table.get("reason", "").strip():
                raise source.error(name, "reason", "a reason", "none", "say why nobody can run it")
            for spelling in (name, *table.get("spellings", ())):
                owner = self.spellings.get(normalise(spelling))
                if owner:
                    raise source.error(
                        name,
                        "",
                        "a name that cannot be run",
                        f"`{spelling}`, which is an entry",
                        f"drop it here, or drop [{owner}] from {self.files[owner].name}",
                    )
            spellings = tuple(table.get("spellings", ()))
            models[name] = UnavailableModel(name, table["kind"], table["reason"], spellings)
        return models

    def _read_subsets(self, source: TomlFile) -> dict[str, tuple[str, ...]]:
        subsets = {}
        for name, table in source.tables.items():
            source.check_table(name, table, SUBSET_KEYS)
            if normalise(name) in {ALL, *self.spellings, *map(normalise, FAMILIES)}:
                raise source.error(
                    name, "", "a name of its own", "that of an entry or a family", "rename it"
                )
            names = tuple(table.get("entries", ()))
            for index, entry in enumerate(names):
                if entry not in self.entries:
                    raise source.error(
                        name,
                        "entries",
                        "names of entries",
                        f"{entry!r}.{did_you_mean(entry, self.entries)}",
                        "correct or drop it",
                    )
                if entry in names[:index]:
                    raise source.error(
                        name, "entries", "each entry once", f"{entry!r} twice", "drop one"
                    )
            subsets[name] = names
        return subsets


def _files(path: Path) -> list[Path]:
    """The lists of a folder, or the one list."""
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.toml"))
    if not found:
        raise HarnessError(
            f"expected model lists in {path}, found none. Fix: run from a checkout of this "
            "repository, `git checkout -- model_lists`, or --lists with a folder that has some"
        )
    return found


def _check_heads(source: TomlFile, name: str, heads: Iterable[str]) -> None:
    for head in heads:
        if head not in known_heads():
            raise source.error(
                name,
                "heads",
                "tasks that harness/catalog/heads.toml has",
                f"{head!r}.{did_you_mean(head, known_heads())}",
                "correct it, or add the task there",
            )


def _merged(config: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """A config with more fields set, those of its parts too."""
    found = dict(config)
    for name, value in more.items():
        old = found.get(name)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        found[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return found


def with_none(config: Any) -> Any:
    """A value out of TOML with None for the string `null`, at every depth."""
    if isinstance(config, dict):
        return {key: with_none(value) for key, value in config.items()}
    if isinstance(config, list):
        return [with_none(value) for value in config]
    return None if config == NULL else config
