"""Architectures of transformers, by model type."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.contract import BASE, Absent, Arrays, PipelineCase
from harness.inputs import example_inputs, special_ids
from harness.models import (
    checkpoint,
    config_classes,
    config_fields,
    head_config,
    model_class,
    own_code,
    pipelines,
)
from harness.models.shrink import slicer
from harness.models.shrink.shrinker import tiny_config
from harness.models.slices import LayersWanted, Slice, usual_layers


class Transformers:
    """Implements `harness.models.libraries.Library`."""

    has_heads = True

    def config(
        self, architecture: str, given: Mapping[str, Any], size: str, head: str = BASE
    ) -> Any:
        """The config class's small, wide or full instance.

        Raises:
            Absent: this environment's transformers has no such model type.
            HarnessError: a given field does not exist.
        """
        cls = config_classes.config_class(architecture)
        config_fields.check(cls, given)
        if size == "wide":
            return self.sliced(architecture, given, head).config
        if size == "full":
            config = cls(**given)
        else:
            config = tiny_config(cls, given, model_class.of(architecture, head).__name__)
        head_config.complete(config, head)
        return config

    def sliced(
        self,
        architecture: str,
        given: Mapping[str, Any],
        head: str = BASE,
        wanted: LayersWanted = usual_layers,
    ) -> Slice:
        """The config class's instance with some of the layers.

        Raises:
            Absent: this environment's transformers has no such model type.
            HarnessError: a given field does not exist.
        """
        cls = config_classes.config_class(architecture)
        config_fields.check(cls, given)
        found = slicer.sliced(cls, given, model_class.of(architecture, head).__name__, wanted)
        head_config.complete(found.config, head)
        return found

    def preload(self, architecture: str) -> None:
        """Import the modeling file."""
        model_class.preload(architecture)

    def pipeline(
        self, architecture: str, head: str, inputs: Arrays, seed: int
    ) -> PipelineCase | None:
        """Text or an image, with a tokenizer or the architecture's image processor."""
        return pipelines.pipeline_case(architecture, head, inputs, seed)

    def pretrained(
        self, architecture: str, head: str, folder: Path, *, trusted: bool = False
    ) -> Any:
        """The model that `from_pretrained` loads from a checkpoint's folder, in float32.

        Raises:
            Absent: no such class, or the checkpoint was saved without a part of it.
            CheckFailed: a tensor is missing, unexpected, or of another shape.
            HarnessError: the checkpoint is of another architecture, or of one that only code in it
                knows, which is not trusted.
        """
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        cls: Any = own_code.auto_class(folder, head, trusted=trusted)
        foreign = {} if cls is None else {"trust_remote_code": True}
        if cls is None:
            cls = model_class.of(architecture, head)
            saved = config_classes.saved_by(folder, architecture)
        else:
            saved = ()
        model, info = cls.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            **foreign,
        )
        loaded = checkpoint.LoadedTensors.of(info)
        had = _parts_of(saved, model.config) if loaded.missing else frozenset()
        checkpoint.check_tensors(model, loaded, saved, folder, had)
        head_config.complete(model.config, head)
        return model.float()

    def placeholders(self, module: Any, config: Any) -> tuple[int, ...]:
        """Every special id of the config and its parts."""
        return special_ids(module, config)

    def module(self, architecture: str, config: Any, head: str = BASE) -> Any:
        """The headless model, or that of a task, with the library's own initial weights.

        Raises:
            Absent: the architecture needs a package that this environment does not have.
        """
        from transformers.utils import logging

        logging.set_verbosity_error()
        cls = model_class.of(architecture, head)
        config_class = getattr(cls, "config_class", None)
        if config_class is not None and not isinstance(config, config_class):
            config = next((c for c in _sub_configs(config) if isinstance(c, config_class)), config)
        try:
            return cls(config)
        except ImportError as error:
            raise Absent(_first_line(error)) from error

    def inputs(
        self, module: Any, config: Any, *, seed: int, variant: str, batch: int, length: int
    ) -> Arrays:
        """Text, images or sound, with the placeholders that a modality's encoder fills."""
        return example_inputs(
            module, config, seed=seed, variant=variant, batch=batch, length=length
        )


def _parts_of(classes: Collection[str], config: Any) -> frozenset[str]:
    """The parts of model classes of transformers, by name; of those that it has and can build."""
    import torch
    import transformers

    found: set[str] = set()
    for name in classes:
        cls: Any = getattr(transformers, name, None)
        if isinstance(getattr(cls, "config_class", None), type):
            with torch.device("meta"), suppress(Exception):  # a config that another class has made
                found |= checkpoint.own_parts(cls(config))
    return frozenset(found)


def _sub_configs(config: Any) -> list[Any]:
    return [v for v in vars(config).values() if hasattr(v, "model_type")]


def _first_line(error: ImportError) -> str:
    return next(line.strip() for line in str(error).splitlines() if line.strip())


LIBRARY = Transformers()
