"""Models of timm, and the extension of PyTorch that lets its torchvision be imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends._shared.torchvision_schemas import torchvision_schemas
from harness.catalog import model_lists
from harness.contract import Absent
from harness.models import from_timm


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("__version__ = '0.28.0+cu130'\ngit_version = 'a'\n", True),
        ("__version__ = '0.28.0+cpu'\n", False),
        ("__version__ = '0.28.0'\n", False),
        (None, False),
    ],
)
def test_only_a_build_for_cuda_lacks_its_operators(
    version: str | None, expected: bool, tmp_path: Path
) -> None:
    if version is not None:
        (tmp_path / "version.py").write_text(version, encoding="utf-8")
    assert torchvision_schemas.built_for_cuda(tmp_path) is expected


def test_torchvision_is_imported_beside_a_torch_of_another_build() -> None:
    pytest.importorskip("torch")
    assert pytest.importorskip("torchvision").ops is not None


def test_head_has_classes_and_its_headless_model_none() -> None:
    config = from_timm.LIBRARY.config("MlpMixer", {"num_classes": 1000, "img_size": 224}, "tiny")
    assert (config.num_classes, config.img_size) == (0, 64)
    head = from_timm.LIBRARY.config("MlpMixer", {}, "tiny", "image-classification")
    assert head.num_classes == from_timm.CLASSES
    whole = from_timm.LIBRARY.config("MlpMixer", {"img_size": 224}, "full", "image-classification")
    assert whole.img_size == 224


def test_images_follow_from_seed_and_variant() -> None:
    library = from_timm.LIBRARY
    config = library.config("MlpMixer", {}, "tiny")

    def images(seed: int, variant: str) -> Any:
        made = library.inputs(None, config, seed=seed, variant=variant, batch=2, length=16)
        return made["x"]

    base = images(0, "base")
    assert base.shape == (2, 3, 64, 64)
    assert base.dtype == np.float32
    assert 0.9 < base.std() < 1.1
    assert np.array_equal(base, images(0, "base"))
    assert not np.array_equal(base, images(0, "other"))
    assert not np.array_equal(base, images(1, "base"))


def test_model_classifies() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    library = from_timm.LIBRARY
    config = library.config("MlpMixer", {}, "tiny", "image-classification")
    module = library.module("MlpMixer", config, "image-classification")
    assert module(torch.zeros(1, 3, 64, 64)).shape == (1, from_timm.CLASSES)
    with pytest.raises(Absent, match="has no class 'MlpMixr'"):
        library.module("MlpMixr", config)


def test_a_checkpoint_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="keeps those by the names of its models"):
        from_timm.LIBRARY.pretrained("MlpMixer", "base", tmp_path)


def test_what_runs_without_timm_does_not_ask_for_it() -> None:
    entries = model_lists.load().entries
    asking = {entry.name for entry in entries.values() if "timm" in entry.requires}
    assert {"timm_wrapper", "timm_backbone", "mlp_mixer", "gemma3n"} <= asking
    assert not asking & {"fast_vlm", "perception_lm", "edgetam"}
