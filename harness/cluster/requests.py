"""Requests to an agent: its settings, then tasks, a line each.

They come from the session's process, whose code the agent runs: they may be pickles. What comes
back may not (`harness.cluster.messages`).
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass

from harness.workers.task import Task


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of an agent: its backend, and how its children start; as JSON in the first line."""

    backend: str  # the session's name
    backends_dir: str  # from the checkout's root, or absolute
    options: dict[str, str]  # of the backend
    preload: list[str]  # modules that the fork server imports
    seconds: float  # limit of a cell
    memory_mb: int  # limit of a cell
    workers: int = 1  # cells at once
    beside: int = 0  # cells at once that other nodes run on this machine
    checkpoints: str = ""  # the folder of real weights

    @classmethod
    def of_line(cls, line: str | bytes) -> AgentSettings:
        """The settings that a line holds."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class NodeTask(Task):
    """A task on a node, with the ticket that its answers carry."""

    ticket: int = 0


def cells_line(tasks: Sequence[NodeTask]) -> str:
    """The line of input that hands tasks to an agent."""
    packed = base64.b64encode(pickle.dumps(list(tasks))).decode("ascii")
    return json.dumps({"cells": packed})


def tasks_of(line: str | bytes) -> list[NodeTask]:
    """The tasks that a line of an agent's input hands over."""
    found: list[NodeTask] = pickle.loads(base64.b64decode(json.loads(line)["cells"]))
    return found
