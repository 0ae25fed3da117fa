"""A repository of the hub at one commit: its files with sizes and digests, before any download."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog import checkpoints
from harness.catalog.hub import errors
from harness.contract import HarnessError

#: Files of weights that `from_pretrained` of transformers or diffusers reads.
_SAFETENSORS = re.compile(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"(pytorch_model|diffusion_pytorch_model)(-\d+-of-\d+)?\.bin")
#: Files beside them, in the same folder: configs, tokenizers, templates.
_BESIDE = re.compile(r"[^/]+\.(json|txt|model|jinja)")
#: Code that a config's `auto_map` names.
_CODE = re.compile(r"[^/]+\.py")
#: Words of those that belong to weights for other programs.
_OTHERS = re.compile(r"(onnx|openvino|coreml|tflite|flax|tf)_", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository.

    Attributes:
        name: with folders, as in the repository.
        size: in bytes.
        sha256: of the contents, of a file in large file storage; else empty.
        blob: git's name of the contents, of any other file.
    """

    name: str
    size: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """The files that a model needs, of one commit of a repository.

    Attributes:
        name: ORGANISATION/NAME.
        commit: that `revision` meant when the hub was asked.
        files: in the order in which they are downloaded, the smallest first.
        parameters: as the headers of its safetensors say; None where the hub does not tell.
    """

    name: str
    commit: str
    files: tuple[RemoteFile, ...]
    parameters: int | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def folder(self, cache: Path) -> Path:
        """The folder of its files below the hub's cache."""
        return cache / f"models--{self.name.replace('/', '--')}" / "snapshots" / self.commit

    def missing(self, cache: Path) -> list[RemoteFile]:
        """The files that are not in the cache, or of another size there."""
        folder = self.folder(cache)
        return [file for file in self.files if _size(folder / file.name) != file.size]


def look_up(
    name: str, revision: str = "", *, pickled: bool = False, code: bool = False
) -> Repository:
    """A repository of the hub, as its metadata describe it; nothing of it is downloaded.

    Args:
        name: ORGANISATION/NAME.
        revision: a commit, branch or tag; empty for the main branch.
        pickled: whether weights that can run code may do, where there are no safetensors.
        code: whether the modeling code of the repository is wanted too.

    Raises:
        HubUnreachable: the hub does not answer, or may not be asked.
        HarnessError: there is no such repository or revision, it may not be read, or it has no
            weights that may be read.
    """
    from huggingface_hub import HfApi, constants

    with errors.told(name, constants.ENDPOINT):
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True)
    listed = [
        RemoteFile(
            file.rfilename,
            file.size or 0,
            sha256=file.lfs.sha256 if file.lfs else "",
            blob="" if file.lfs else (file.blob_id or ""),
        )
        for file in info.siblings or ()
    ]
    files = [*_weights(name, listed, pickled), *_beside(listed, code)]
    if not any(file.name == checkpoints.CONFIG for file in files):
        raise HarnessError(
            f"expected {name} to hold {checkpoints.CONFIG}, found none: it may be a pipeline of "
            "several models. Fix: correct `checkpoint` in the model list"
        )
    said = getattr(info, "safetensors", None)
    files.sort(key=lambda file: (file.size, file.name))
    return Repository(name, str(info.sha), tuple(files), said.total if said else None)


def _weights(name: str, files: Sequence[RemoteFile], pickled: bool) -> list[RemoteFile]:
    """The files of weights: unsplit ones, else all parts of the split ones."""
    safe = _unsplit(_SAFETENSORS, files)
    if safe:
        return safe
    unsafe = _unsplit(_PICKLED, files)
    if unsafe and pickled:
        return unsafe
    if unsafe:
        raise HarnessError(
            f"expected {name} to hold its weights as safetensors, found {unsafe[0].name}, which "
            "can run code of its author when it is read. Fix: --allow-pickle, if you trust the "
            "author"
        )
    shown = ", ".join(file.name for file in files[: checkpoints.SHOWN]) or "no file"
    raise HarnessError(
        f"expected {name} to hold model.safetensors, found {shown}. Fix: correct `checkpoint` in "
        "the model list"
    )


def _unsplit(pattern: re.Pattern[str], files: Sequence[RemoteFile]) -> list[RemoteFile]:
    found = [(match, file) for file in files if (match := pattern.fullmatch(file.name))]
    whole = [file for match, file in found if match[2] is None]
    return whole[:1] or [file for _, file in found]


def _beside(files: Sequence[RemoteFile], code: bool) -> list[RemoteFile]:
    wanted = [_BESIDE, *([_CODE] if code else [])]
    return [
        file
        for file in files
        if any(pattern.fullmatch(file.name) for pattern in wanted) and not _OTHERS.match(file.name)
    ]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
