"""Table of optimum-intel's classes: the one that stands for a cell, its inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backends.openvino_optimum.optimum_imports import TasksManager, get_openvino_model_class
from harness.contract import Unsupported
from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, Key

TABLE = Path(__file__).parent / "classes.toml"


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One `[[class]]` of `classes.toml`, which says what the fields are."""

    name: str
    task: str
    heads: tuple[str, ...]
    types: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    positions: bool = False
    completes: bool = False

    @property
    def any_task(self) -> bool:
        """Whether the class is told its task."""
        return self.name == "OVModelForCustomTasks"

    def fits(self, model_type: str, arguments: Collection[str]) -> bool:
        """Whether the class is for an architecture, takes these arguments, and needs no others."""
        return (
            (not self.types or model_type in self.types)
            and (not self.takes or set(arguments) <= set(self.takes))
            and set(self.needs) <= set(arguments)
        )


@cache
def rows() -> tuple[ClassRow, ...]:
    """The rows of `classes.toml`."""
    source = TomlFile(TABLE)
    source.check_top({"class": Key("The rows, in order.", ANY)})
    keys = {"class": Key("In optimum.intel.", required=True), **keys_of(ClassRow, without=["name"])}
    read = source.check_rows("class", keys)
    return tuple(
        ClassRow(
            name=row["class"],
            task=row["task"],
            heads=tuple(row["heads"]),
            types=tuple(row.get("types", ())),
            takes=tuple(row.get("takes", ())),
            needs=tuple(row.get("needs", ())),
            outputs=tuple(row.get("outputs", ())),
            positions=row.get("positions", False),
            completes=row.get("completes", False),
        )
        for row in read
    )


def row_of(head: str, config: Any, arguments: Collection[str]) -> ClassRow:
    """The row of a cell.

    Args:
        head: the cell's.
        config: of its model.
        arguments: of forward, that its example has.

    Raises:
        Unsupported: no class of optimum-intel is for the head; in optimum's own words.
    """
    model_type = type_of(config)
    named = [row for row in rows() if head in row.heads]
    able = [row for row in named if not row.types or model_type in row.types]
    if not able:
        try:
            get_openvino_model_class(head)
        except KeyError as error:
            raise Unsupported(str(error.args[0])) from error
        raise Unsupported(f"{head} on {model_type!r} is in no row of {TABLE.name}")
    known = [row for row in able if exported(config, row.task) is not None]
    fitting = [row for row in known if row.fits(model_type, arguments)]
    return (fitting or known[-1:] or able[-1:])[0]


def type_of(config: Any) -> str:
    """The name of an architecture in optimum's registry."""
    return str(getattr(config, "export_model_type", None) or getattr(config, "model_type", ""))


@dataclass(frozen=True, slots=True)
class ExporterPorts:
    """Names of the inputs and outputs that an exporter of optimum declares for its model."""

    inputs: frozenset[str]
    outputs: tuple[str, ...]


def exported(config: Any, task: str) -> ExporterPorts | None:
    """The ports that optimum's exporter declares for a task; None where there is no exporter.

    An exporter that doesn't understand the config counts as none here: `from_pretrained` then says
    what is wrong.
    """
    try:
        make = TasksManager.get_exporter_config_constructor(
            exporter="openvino",
            model_type=type_of(config),
            task=task,
            library_name="transformers",
        )
        found = make(config)
        return ExporterPorts(frozenset(found.inputs), tuple(found.outputs))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def shapes(config: Any) -> dict[str, int]:
    """The shapes of optimum's example inputs where its own don't fit the small model.

    Returns:
        Keywords of `optimum.exporters.openvino.main_export`. Whisper's encoder takes as many frames
        as it has positions for, two a position; optimum gives it the 3000 of a real one.
    """
    positions = getattr(config, "max_source_positions", None)
    return {} if positions is None else {"nb_max_frames": 2 * positions}


def outputs_of(config: Any, row: ClassRow) -> tuple[str, ...]:
    """The outputs that the class returns; empty where neither table nor exporter names them."""
    if row.outputs:
        return row.outputs
    found = exported(config, row.task)
    return found.outputs if found is not None else ()
