"""Preload module of the fork server: imports, tables and caches that building small models needs.

Named in a backend's `preload`; importing it reads the tables and fills the caches that PyTorch and
transformers fill on their first use, so that no child pays for them again.
"""

from __future__ import annotations

from contextlib import suppress

import harness.models.case  # noqa: F401
from harness import inputs
from harness.catalog.exemptions import exemptions
from harness.models import kept_references, libraries, library_code, model_class, weights
from harness.models.shrink import overrides, rules

__all__ = ["preload"]


def preload(architecture: str) -> None:
    """Import the modeling code of `library/architecture`."""
    library, _, name = architecture.partition("/")
    libraries.library(library).preload(name)


def _fill_caches() -> None:
    import torch
    import torch._refs
    import torch.overrides

    rules.rules()
    overrides.overrides()
    inputs.recipes()
    weights.weight_rules()
    kept_references.fill_caches()
    exemptions()
    with torch.device("cpu"):  # PyTorch's own table of what a device context redirects
        torch.nn.Linear(1, 1)
    with suppress(ImportError):
        library_code.fill_caches("transformers")
        model_class.mappings()
        import PIL.Image  # noqa: F401
        import transformers.models.auto.image_processing_auto
        import transformers.pipelines  # noqa: F401
        from transformers import conversion_mapping

        conversion_mapping.get_checkpoint_conversion_mapping("")


_fill_caches()
