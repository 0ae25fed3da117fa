"""What building small models needs, imported and computed once, in the fork server.

Named in a backend's `preload`; importing it reads the tables of this folder and fills the caches
that transformers fills on its first load, so that no child pays for them again.
"""

from __future__ import annotations

from contextlib import suppress

from harness import inputs
from harness.catalog.exceptions import exceptions
from harness.models import case, libraries, model_class, weights
from harness.models.shrink import overrides, rules

__all__ = ["preload"]


def preload(architecture: str) -> None:
    """Import the modeling code of `library/architecture`."""
    library, _, name = architecture.partition("/")
    libraries.library(library).preload(name)


def _fill_caches() -> None:
    rules.rules()
    overrides.overrides()
    inputs.recipes()
    weights.weight_rules()
    exceptions()
    case.warm()
    with suppress(ImportError):
        model_class.mappings()
        import PIL.Image  # noqa: F401
        import transformers.models.auto.image_processing_auto
        import transformers.pipelines  # noqa: F401
        from transformers import conversion_mapping

        conversion_mapping.get_checkpoint_conversion_mapping("")


_fill_caches()
