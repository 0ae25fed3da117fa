"""Export of a small model by one of optimum-intel's classes, and its IR in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from backends.openvino_optimum import classes
from backends.openvino_optimum.classes import ClassRow
from backends.openvino_optimum.optimum_imports import main_export, optimum_intel
from harness.contract import Case, Unsupported
from harness.toolkit import cache as caches

#: How a message of optimum begins that says that it does not export a model.
REFUSALS = (
    "Trying to export a ",
    "Asked to export a ",
    "The current version of Transformers does not allow for the export",
    "The decoder part of the encoder-decoder model is ",
)
#: Packages whose versions are part of an exported model's cache key.
PACKAGES = ("optimum", "optimum-intel", "openvino", "nncf", "torch", "transformers")


def load(row: ClassRow, folder: Path, device: str, hints: Mapping[str, str]) -> Any:
    """The compiled model of `OVModelFor...from_pretrained(folder)`.

    Args:
        row: names the class.
        folder: where optimum saved an IR.
        device: as OpenVINO names it.
        hints: OpenVINO's properties of the compiled model.
    """
    return _class(row).from_pretrained(str(folder), device=device, ov_config=dict(hints))


def export(row: ClassRow, saved: Path, config: Any, device: str, hints: Mapping[str, str]) -> Any:
    """The compiled model of `OVModelFor...from_pretrained(saved, export=True)`.

    Args:
        row: names the class, and the task where the class is for any.
        saved: where transformers saved the model.
        config: of the model.
        device: as OpenVINO names it.
        hints: OpenVINO's properties of the compiled model.

    Raises:
        Unsupported: optimum says that it does not export this model, or not for this task.
    """
    given: dict[str, Any] = {"device": device, "ov_config": dict(hints)}
    if row.any_task:
        given["task"] = row.task
    shapes = classes.shapes(config)
    try:
        if not shapes:
            return _class(row).from_pretrained(str(saved), export=True, **given)
        exported = saved.with_name("exported by main_export")
        task = row.task if row.any_task else f"{row.task}-with-past"
        main_export(str(saved), exported, task, library_name="transformers", **shapes)
    except ValueError as error:
        if str(error).startswith(REFUSALS):
            raise Unsupported(str(error)) from error
        raise
    return load(row, exported, device, hints)


def _class(row: ClassRow) -> Any:
    return getattr(optimum_intel, row.name)


def complete(saved: Path, case: Case) -> None:
    """Add to the config of a saved model what forward reads there, and a checkpoint says.

    That is the padding token, and how many tokens of text stand for an image.
    """
    path, config = saved / "config.json", case.config()
    said = json.loads(path.read_text(encoding="utf-8"))
    if said.get("pad_token_id") is None:
        said["pad_token_id"] = case.padding()
    placeholder = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
    if hasattr(config, "image_seq_length") and placeholder is not None:
        ids = case.inputs()["input_ids"]
        said["image_seq_length"] = int((ids == placeholder).sum(axis=1).max())
    path.write_text(json.dumps(said), encoding="utf-8")


def key(saved: Path, row: ClassRow) -> str:
    """The key of the IR of a model that transformers saved.

    Args:
        saved: the folder with its config and weights, all of which count.
        row: how it is exported.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in saved.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(saved).as_posix()} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return caches.key(
        kind="openvino ir by optimum",
        saved=digest.hexdigest(),
        name=row.name,
        task=row.task,
        code=code(),
        versions={name: version(name) for name in PACKAGES},
    )


@cache
def code() -> str:
    """A digest of this folder's code and data, which decide what is exported."""
    digest = hashlib.sha256()
    for path in sorted(
        [*Path(__file__).parent.glob("*.py"), Path(__file__).parent / "classes.toml"]
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pack(folder: Path) -> dict[str, bytes]:
    """The files that `save_pretrained` wrote, as the parts of a cache entry."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(parts: Mapping[str, bytes], folder: Path) -> None:
    """Write the files that `pack` read."""
    for name, data in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
