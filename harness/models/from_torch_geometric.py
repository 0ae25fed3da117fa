"""Graph networks of PyTorch Geometric (`torch_geometric.nn.models`), by class name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.contract import BASE, Absent, Arrays
from harness.models import libraries
from harness.models.constructors import ConstructorLibrary
from harness.toolkit.seeded_values import integers, uniform

#: Arguments of the constructor that have no default, and how large they are in a small model.
SIZES = {"in_channels": 16, "hidden_channels": 32, "num_layers": 2, "out_channels": 8}

#: Edges that end in each node of an example graph, beside the ring that joins all nodes.
DEGREE = 3


class TorchGeometric(ConstructorLibrary):
    """Implements `harness.models.libraries.Library`."""

    has_heads = False
    depths = re.compile("num_layers")

    def config(
        self, architecture: str, given: Mapping[str, Any], size: str, head: str = BASE
    ) -> Any:
        """The arguments of the model's constructor as attributes, and its name."""
        if size == "wide":
            return self.sliced(architecture, given, head).config
        fields = {**SIZES, **given}
        if size != "full":
            fields |= {name: min(fields[name], most) for name, most in SIZES.items()}
        return SimpleNamespace(model_type=architecture, **fields)

    def preload(self, architecture: str) -> None:
        """Nothing: as it is imported it asks how torch was built, and that opens CUDA's driver.

        A driver that the fork server has opened answers none of its children ("initialization
        error", seen on an H100), so that whoever needs the library imports it.
        """

    def pretrained(
        self, architecture: str, head: str, folder: Path, *, trusted: bool = False
    ) -> Any:
        """Nothing: the library publishes no checkpoints."""
        raise Absent(f"requires a checkpoint of {architecture}, and torch_geometric has none")

    def class_of(self, architecture: str) -> Any:
        """The model's class; raises `Absent`."""
        import torch_geometric
        from torch_geometric.nn import models

        return libraries.class_of(torch_geometric, architecture, within=models)

    def inputs(
        self, module: Any, config: Any, *, seed: int, variant: str, batch: int, length: int
    ) -> Arrays:
        """One graph of `length` nodes for each of the batch, all in one unconnected graph.

        Returns:
            `x`, features by node, and `edge_index`, the sources and the targets of edges.
        """
        nodes = batch * length
        name = f"input/{variant}"
        x = uniform(seed, f"{name}/x", (nodes, config.in_channels)) * np.float32(math.sqrt(3.0))
        first = np.arange(nodes) // length * length  # of the graph that a node belongs to
        targets = np.repeat(np.arange(nodes), DEGREE)
        drawn = integers(seed, f"{name}/edge_index", (nodes * DEGREE,), 0, length)
        ring = np.stack([first + (np.arange(nodes) + 1 - first) % length, np.arange(nodes)])
        return {
            "x": x,
            "edge_index": np.hstack([ring, np.stack([first[targets] + drawn, targets])]),
        }


LIBRARY = TorchGeometric()
