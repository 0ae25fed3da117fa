"""The architectures of the installed transformers, read from its source without importing it."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from harness.contract import HarnessError

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
class InstalledLibrary:
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


def installed(folder: Path | None = None) -> InstalledLibrary:
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
        return InstalledLibrary(Path(spec.origin).parent, metadata.version("transformers"))
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
    return InstalledLibrary(folder, match.group(1))


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
