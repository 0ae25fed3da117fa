"""Architectures of transformers, by model type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.contract import Absent, Arrays, PipelineCase
from harness.inputs import example_inputs
from harness.tiny import model_class, pipelines
from harness.tiny.shrink import tiny_config


class Transformers:
    """Implements `harness.tiny.libraries.Library`."""

    def config(self, architecture: str, given: Mapping[str, Any], size: str) -> Any:
        """The config class's small (or full) instance."""
        cls = model_class.config_class(architecture)
        return cls(**given) if size == "full" else tiny_config(cls, given)

    def preload(self, architecture: str) -> None:
        """Import the modeling file."""
        model_class.preload(architecture)

    def pipeline(self, architecture: str, inputs: Arrays, seed: int) -> PipelineCase | None:
        """Text or an image, with a tokenizer or the architecture's image processor."""
        return pipelines.pipeline_case(architecture, inputs, seed)

    def module(self, architecture: str, config: Any) -> Any:
        """The headless model with the library's own initial weights.

        Raises:
            Absent: the architecture needs a package that this environment does not have.
        """
        from transformers.utils import logging

        logging.set_verbosity_error()
        cls = model_class.base_class(architecture)
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


def _sub_configs(config: Any) -> list[Any]:
    return [v for v in vars(config).values() if hasattr(v, "model_type")]


def _first_line(error: ImportError) -> str:
    return next(line.strip() for line in str(error).splitlines() if line.strip())


LIBRARY = Transformers()
