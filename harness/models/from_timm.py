"""Image models of timm, by class name; they have no config classes, only constructors."""

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
from harness.toolkit.seeded_values import uniform

#: Arguments of constructors, and how large they are in a small model. MlpMixer has all of them.
SIZES = {"img_size": 64, "patch_size": 16, "num_blocks": 2, "embed_dim": 64}

#: The classes of a head's classification; a headless model has none, and returns pooled features.
CLASSES = 3


class Timm(ConstructorLibrary):
    """Implements `harness.models.libraries.Library`."""

    has_heads = True
    depths = re.compile("num_blocks")

    def config(
        self, architecture: str, given: Mapping[str, Any], size: str, head: str = BASE
    ) -> Any:
        """The arguments of the model's constructor as attributes, and its name."""
        if size == "wide":
            return self.sliced(architecture, given, head).config
        fields = {**given} if size == "full" else {**given, **SIZES}
        classes = 0 if head == BASE else given.get("num_classes", CLASSES)
        return SimpleNamespace(model_type=architecture, **{**fields, "num_classes": classes})

    def preload(self, architecture: str) -> None:
        """Import the model's class."""
        self.class_of(architecture)

    def pretrained(
        self, architecture: str, head: str, folder: Path, *, trusted: bool = False
    ) -> Any:
        """Nothing: its checkpoints do not say the arguments of a class.

        Raises:
            Absent: always.
        """
        raise Absent(
            f"requires arguments of {architecture} for its checkpoint: timm keeps those by the "
            "names of its models"
        )

    def class_of(self, architecture: str) -> Any:
        """The model's class; raises `Absent`."""
        import timm
        import timm.models

        return libraries.class_of(timm, architecture, within=timm.models)

    def inputs(
        self, module: Any, config: Any, *, seed: int, variant: str, batch: int, length: int
    ) -> Arrays:
        """Images.

        Returns:
            `x`, (batch, 3, height, width) in float32, of the order of 1.
        """
        side = getattr(config, "img_size", 224)
        name = f"input/{variant}/x"
        return {"x": uniform(seed, name, (batch, 3, side, side)) * np.float32(math.sqrt(3.0))}


LIBRARY = Timm()
