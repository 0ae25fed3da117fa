"""Holds an installed transformers against the model lists: what is new, gone or renamed.

The library is read, never imported: its auto mappings are literals, and parsing them takes a
tenth of the time that importing it does.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import catalog as catalogs
from harness import toml_text
from harness.catalog import Catalog, normalise
from harness.contract import Entry, HarnessError

#: The mapping that lists every base architecture; the others, one a head, end like this too.
BASE = "MODEL_MAPPING_NAMES"
_CONFIGS = "CONFIG_MAPPING_NAMES"
_MODULES = "SPECIAL_MODEL_TYPE_TO_MODULE_NAME"
_HEAD = re.compile(r"MODEL_FOR_(\w+?)(?:_MAPPING)?_NAMES")

#: From the head of an architecture to its family and task; the first that it has decides.
_BY_HEAD: tuple[tuple[str, str, str], ...] = (
    ("TIME_SERIES_PREDICTION", "time-series", "time-series-forecasting"),
    ("AUDIO_TOKENIZATION", "speech", "audio-tokenization"),
    ("TEXT_TO_WAVEFORM", "speech", "text-to-speech"),
    ("TEXT_TO_SPECTROGRAM", "speech", "text-to-speech"),
    ("CTC", "speech", "automatic-speech-recognition"),
    ("RNNT", "speech", "automatic-speech-recognition"),
    ("TDT", "speech", "automatic-speech-recognition"),
    ("AUDIO_XVECTOR", "speech", "audio-classification"),
    ("AUDIO_FRAME_CLASSIFICATION", "speech", "audio-frame-classification"),
    ("AUDIO_CLASSIFICATION", "speech", "audio-classification"),
    ("IMAGE_TEXT_TO_TEXT", "multimodal", "image-text-to-text"),
    ("MULTIMODAL_LM", "multimodal", "audio-text-to-text"),
    ("SPEECH_SEQ_2_SEQ", "speech", "automatic-speech-recognition"),
    ("ZERO_SHOT_IMAGE_CLASSIFICATION", "multimodal", "zero-shot-image-classification"),
    ("ZERO_SHOT_OBJECT_DETECTION", "multimodal", "zero-shot-object-detection"),
    ("VISUAL_QUESTION_ANSWERING", "multimodal", "visual-question-answering"),
    ("OBJECT_DETECTION", "vision", "object-detection"),
    ("DEPTH_ESTIMATION", "vision", "depth-estimation"),
    ("UNIVERSAL_SEGMENTATION", "vision", "image-segmentation"),
    ("SEMANTIC_SEGMENTATION", "vision", "image-segmentation"),
    ("MASK_GENERATION", "vision", "mask-generation"),
    ("KEYPOINT_DETECTION", "vision", "keypoint-detection"),
    ("KEYPOINT_MATCHING", "vision", "keypoint-matching"),
    ("TEXT_RECOGNITION", "vision", "text-recognition"),
    ("VIDEO_CLASSIFICATION", "vision", "video-classification"),
    ("IMAGE_CLASSIFICATION", "vision", "image-classification"),
    ("IMAGE", "vision", "image-feature-extraction"),
    ("BACKBONE", "vision", "image-feature-extraction"),
    ("SEQ_TO_SEQ_CAUSAL_LM", "encoder-decoder", "text2text-generation"),
    ("MASKED_LM", "encoder-only", "fill-mask"),
    ("CAUSAL_LM", "decoder-only", "text-generation"),
)
#: Where no head decides: from the main input of the model.
_BY_INPUT: Mapping[str, tuple[str, str]] = {
    "pixel_values": ("vision", "image-feature-extraction"),
    "pixel_values_videos": ("vision", "video-classification"),
    "hidden_states": ("vision", "image-feature-extraction"),
    "input_values": ("speech", "feature-extraction"),
    "input_features": ("speech", "feature-extraction"),
    "past_values": ("time-series", "time-series-forecasting"),
    "input_ids": ("decoder-only", "feature-extraction"),
}
#: A text model whose config has one of these belongs to a family of its own.
_BY_FIELD: tuple[tuple[str, str], ...] = (
    (r"mamba_\w+|ssm_\w+|state_size|linear_(?:attn|key|num)\w*|rwkv\w*", "state-space"),
    (r"num_experts|num_local_experts|n_routed_experts|moe_num_experts", "mixture-of-experts"),
)


@dataclass(frozen=True, slots=True)
class Guess:
    """Where an architecture probably belongs, and what says so."""

    family: str
    task: str
    because: str


@dataclass(frozen=True)
class Library:
    """One version of transformers, read from its folder.

    Attributes:
        folder: the package's folder.
        version: as it says itself.
    """

    folder: Path
    version: str

    @cached_property
    def architectures(self) -> Mapping[str, str]:
        """Model type -> the name of its base model's class."""
        return self._mappings[BASE]

    @cached_property
    def configs(self) -> Mapping[str, str]:
        """Model type -> the name of its config class; more types than there are base models."""
        return self._mappings.get(_CONFIGS, {})

    @cached_property
    def heads(self) -> Mapping[str, frozenset[str]]:
        """Model type -> the heads that the auto classes know, as in `CAUSAL_LM`."""
        found: dict[str, set[str]] = {}
        for name, mapping in self._mappings.items():
            if head := _HEAD.fullmatch(name):
                for architecture in mapping:
                    found.setdefault(architecture, set()).add(head.group(1))
        return {architecture: frozenset(heads) for architecture, heads in found.items()}

    @cached_property
    def _mappings(self) -> dict[str, dict[str, str]]:
        mappings: dict[str, dict[str, str]] = {}
        auto = self.folder / "models" / "auto"
        for path in (
            auto / "auto_mappings.py",
            auto / "configuration_auto.py",
            auto / "modeling_auto.py",
        ):
            if path.is_file():
                _read_mappings(path, mappings)
        if not mappings.get(BASE):
            raise HarnessError(
                f"expected {BASE} in {auto / 'modeling_auto.py'}, found none. "
                "Fix: name the folder of a transformers package with --transformers DIR"
            )
        return mappings

    def guess(self, architecture: str) -> Guess:
        """Where an architecture belongs, by its heads, its inputs and its config's fields."""
        heads = self.heads.get(architecture, frozenset())
        body = self._class(architecture, "modeling", self.architectures)
        inputs = _inputs(body)
        main_input = _main_input(body) or next(iter(inputs), "input_ids")
        family, task, because = self._by_head(heads) or (
            *_BY_INPUT.get(main_input, ("decoder-only", "feature-extraction")),
            f"main input {main_input}",
        )
        others = [name for name in inputs if name in _BY_INPUT and name != "input_ids"]
        if "input_ids" in inputs and others and family not in ("multimodal", "speech"):
            return Guess("multimodal", task, f"{because}, inputs input_ids and {others[0]}")
        if family == "decoder-only":
            fields = self._class(architecture, "configuration", self.configs)
            for pattern, other in _BY_FIELD:
                if match := re.search(rf"^    ({pattern})\b", fields, re.MULTILINE):
                    return Guess(other, task, f"{because}, config field {match.group(1)}")
        return Guess(family, task, because)

    @staticmethod
    def _by_head(heads: Iterable[str]) -> tuple[str, str, str] | None:
        for head, family, task in _BY_HEAD:
            if head in heads:
                return family, task, f"head {head}"
        return None

    def _class(self, architecture: str, kind: str, names: Mapping[str, str]) -> str:
        """The text of the architecture's class in its `modeling` or `configuration` file."""
        modules = self._mappings.get(_MODULES, {})
        module = modules.get(architecture, architecture.replace("-", "_"))
        path = self.folder / "models" / module / f"{kind}_{module}.py"
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        return _class_body(source, names.get(architecture, ""))


@dataclass(frozen=True, slots=True)
class Difference:
    """An installed transformers against the lists.

    Attributes:
        version: of the library.
        new: architectures that no entry has.
        gone: entries whose architecture the library does not have, though nothing in the entry
            says so.
        renamed: entry -> the new architecture that is probably the same model.
        absent: entries that say themselves that this version does not have them.
    """

    version: str
    new: tuple[str, ...]
    gone: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


def installed(folder: Path | None = None) -> Library:
    """The transformers package in `folder`, or the one that this environment imports.

    Raises:
        HarnessError: there is none.
    """
    if folder is None:
        spec = importlib.util.find_spec("transformers")
        if spec is None or not spec.origin:
            raise HarnessError(
                "expected transformers in this environment, found none. "
                "Fix: `pip install transformers`, or name a copy with --transformers DIR"
            )
        return Library(Path(spec.origin).parent, metadata.version("transformers"))
    init = folder / "__init__.py"
    match = re.search(
        r"""^__version__ = ["']([^"']+)["']""",
        init.read_text(encoding="utf-8") if init.is_file() else "",
        re.MULTILINE,
    )
    if match is None:
        raise HarnessError(
            f"expected a transformers package in {folder}, found no __init__.py with a version. "
            "Fix: name the folder that holds it, as in --transformers "
            "venv/lib/python3.12/site-packages/transformers"
        )
    return Library(folder, match.group(1))


def compare(library: Library, catalog: Catalog) -> Difference:
    """What a library has that the lists lack, and the other way round."""
    entries = [entry for entry in catalog.entries.values() if entry.library == "transformers"]
    listed = {entry.architecture for entry in entries}
    known = {*library.architectures, *library.configs}
    new = sorted(set(library.architectures) - listed)
    by_normal = {normalise(architecture): architecture for architecture in new}
    missing = [entry for entry in entries if entry.architecture not in known]
    absent = [entry.name for entry in missing if not _meant_for(entry, library.version)]
    renamed = {
        entry.name: by_normal[normalise(entry.architecture)]
        for entry in missing
        if entry.name not in absent and normalise(entry.architecture) in by_normal
    }
    gone = [entry.name for entry in missing if entry.name not in {*absent, *renamed}]
    return Difference(library.version, tuple(new), tuple(gone), renamed, tuple(absent))


def write(
    library: Library, architectures: Iterable[str], catalog: Catalog, root: Path
) -> list[str]:
    """Adds a row for each architecture to the list of the family that it probably belongs to.

    Every other line of the lists stays as it is.

    Returns:
        The list files that changed, relative to `root`.

    Raises:
        HarnessError: two names would collide; nothing is written.
    """
    taken = {normalise(name) for name in catalog.entries}
    by_file: dict[Path, dict[str, str]] = {}
    for architecture in architectures:
        name = re.sub(r"[^a-z0-9]+", "_", architecture.lower())
        if normalise(name) in taken:
            raise HarnessError(
                f"expected a free name for the new architecture {architecture!r}, found an entry "
                f"`{name}`. Fix: add it by hand under another name"
            )
        taken.add(normalise(name))
        guess = library.guess(architecture)
        row = {"architecture": architecture, "task": guess.task, "priority": "low"}
        comment = f"review: family and task guessed from {guess.because}"
        path = root / catalogs.FOLDER / f"{guess.family.replace('-', '_')}.toml"
        by_file.setdefault(path, {})[name] = toml_text.table(name, row, comment)
    for path, tables in by_file.items():
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        toml_text.replace_file(path, toml_text.insert_tables(text, tables))
    return sorted(path.relative_to(root).as_posix() for path in by_file)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness discover`."""
    parser.description = (
        "Compares the installed transformers with the model lists: what is new, gone or renamed."
    )
    parser.add_argument("--write", action="store_true", help="add a row for each new architecture")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--transformers",
        type=Path,
        metavar="DIR",
        help="the folder of another transformers package than the installed one",
    )
    parser.add_argument("--root", type=Path, default=catalogs.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the difference; 1 while the lists and the library differ.

    Raises:
        HarnessError: there is no transformers, or a list is wrong.
    """
    catalog = catalogs.load(args.root)
    library = installed(args.transformers)
    difference = compare(library, catalog)
    if args.json:
        guesses = {name: asdict(library.guess(name)) for name in difference.new}
        print(json.dumps({**asdict(difference), "guesses": guesses}, indent=2))
    else:
        _show(difference, library, catalog)
    notes = sys.stderr if args.json else sys.stdout
    unlisted = [name for name in difference.new if name not in difference.renamed.values()]
    if args.write and unlisted:
        for changed in write(library, unlisted, catalog, args.root):
            print(f"wrote {changed}", file=notes)
        print(
            "Look for `review:` in them, correct family, task and priority, drop the comment.",
            file=notes,
        )
        unlisted = []
    elif unlisted:
        print("`python -m harness discover --write` adds rows for what is new.", file=notes)
    return 1 if unlisted or difference.gone or difference.renamed else 0


def _show(difference: Difference, library: Library, catalog: Catalog) -> None:
    listed = len(library.architectures) - len(difference.new)
    print(
        f"transformers {difference.version}: {listed} of {len(library.architectures)} "
        "architectures are listed"
    )
    renamed = set(difference.renamed.values())
    for architecture in difference.new:
        if architecture not in renamed:
            guess = library.guess(architecture)
            print(f"  new      {architecture}: probably {guess.family} ({guess.because})")
    for entry, architecture in difference.renamed.items():
        old = catalog.entries[entry].architecture
        print(f"  renamed  {entry}: {old} is probably {architecture} now")
    for entry in difference.gone:
        print(f"  gone     {entry}: no {catalog.entries[entry].architecture} here")
    if difference.gone:
        print(
            "           an architecture that was removed needs "
            f'`requires = ["transformers<{difference.version}"]` in its list'
        )
    if difference.absent:
        print(f"  absent   as their rows say: {', '.join(difference.absent)}")


def _meant_for(entry: Entry, version: str) -> bool:
    """Whether the entry's own `requires` allow this version of transformers."""
    return all(
        requirement.specifier.contains(version, prereleases=True)
        for requirement in map(Requirement, entry.requires)
        if canonicalize_name(requirement.name) == "transformers"
    )


def _read_mappings(path: Path, mappings: dict[str, dict[str, str]]) -> None:
    """Adds every `..._NAMES` and module mapping of a file, by the name that it is assigned to.

    Mappings are written as `OrderedDict([("bert", "BertModel"), ...])`, as a plain dict, or as
    `NAME.update({...})`; whatever pairs of strings such a statement holds are taken.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target: ast.expr | None = None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and node.value.func.attr == "update"
        ):
            target = node.value.func.value
        if isinstance(target, ast.Name) and (target.id.endswith("_NAMES") or target.id == _MODULES):
            mappings.setdefault(target.id, {}).update(_pairs(node))


def _pairs(node: ast.AST) -> dict[str, str]:
    """The pairs of a key and a class name below a node; of several class names, the first."""
    pairs: dict[str, str] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.List):
            for item in part.elts:
                if isinstance(item, ast.Tuple) and len(item.elts) == 2:
                    _add_pair(pairs, *item.elts)
        elif isinstance(part, ast.Dict):
            for key, value in zip(part.keys, part.values, strict=True):
                _add_pair(pairs, key, value)
    return pairs


def _add_pair(pairs: dict[str, str], key: ast.expr | None, value: ast.expr) -> None:
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
        return
    if isinstance(value, ast.Tuple | ast.List) and value.elts:
        value = value.elts[0]
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        pairs[key.value] = value.value


def _main_input(body: str) -> str:
    """What a model's class declares as its main input; empty where it does not."""
    match = re.search(r"""main_input_name = ["'](\w+)["']""", body)
    return match.group(1) if match else ""


def _inputs(body: str) -> list[str]:
    """The parameters of a model's forward, in their order."""
    match = re.search(r"def forward\(\s*self,(.*?)\)(?: ->.*?)?:\n", body, re.DOTALL)
    return re.findall(r"(?:^|,)\s*(\w+)\s*(?=[:,=]|$)", match.group(1)) if match else []


def _class_body(source: str, name: str) -> str:
    """The text of a top-level class; empty when the source has none of that name."""
    start = re.search(rf"^class {re.escape(name)}\b", source, re.MULTILINE) if name else None
    if start is None:
        return ""
    end = re.compile(r"^\S", re.MULTILINE).search(source, start.end())
    return source[start.start() : end.start() if end else len(source)]
