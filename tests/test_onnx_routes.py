"""Which inputs an exported graph may hold as constants.

Skipped where the environment has no onnx; `.ci/run` runs it in that of `qnn`.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript")

from backends._onnx import routes
from harness.contract import Array

IDS = np.array([[5, 6, 7, 8]])
MASK = np.ones_like(IDS)
IMAGES = np.array([[True, False, False, False]])
SIZES = np.array([[4, 4]])
PLAIN = {"input_ids": IDS, "attention_mask": MASK, "image_mask": IMAGES, "image_sizes": SIZES}
PADDED = {
    **PLAIN,
    "input_ids": np.array([[0, 5, 6, 7]]),
    "attention_mask": np.array([[0, 1, 1, 1]]),
    "image_mask": np.array([[False, True, False, False]]),
}


def fixed(route: str, *examples: dict[str, Array]) -> set[str]:
    """What a route may hold as constants."""
    fixes = next(known.fixes for known in routes.ROUTES if known.name == route)
    return set(fixes(examples)) if fixes else set()


def test_no_mask_that_padding_changes_becomes_a_constant() -> None:
    assert fixed("dynamo-masks", PLAIN, PADDED) == {"image_sizes"}
    assert fixed("dynamo-masks", PLAIN) == set(PLAIN)


def test_floating_inputs_never_become_constants() -> None:
    pixels = {"pixel_values": np.zeros((1, 3, 4, 4), np.float32), "image_sizes": SIZES}
    assert fixed("dynamo-masks", pixels) == fixed("dynamo-sizes", pixels) == {"image_sizes"}


def test_a_long_row_of_integers_is_no_size() -> None:
    long = {"input_ids": np.ones((1, routes.HANDFUL + 1), np.int64), "image_sizes": SIZES}
    assert fixed("dynamo-sizes", long) == fixed("torchscript", long) == {"image_sizes"}
    assert fixed("dynamo", long) == set()
