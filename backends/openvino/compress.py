"""Weight compression to 8 or 4 bits by NNCF; activations keep the device's default precision."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from backends._shared import openvino_without_telemetry  # noqa: F401  (first: it leaves telemetry out)

import nncf  # isort: skip

#: Weights that share one scale in 4 bits. NNCF's default of 128 is wider than a small model.
GROUP = 16

nncf.set_log_level(logging.ERROR)

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "int8": {"mode": nncf.CompressWeightsMode.INT8_ASYM},
    "int4": {"mode": nncf.CompressWeightsMode.INT4_SYM, "group_size": GROUP},
}


def compressed(model: Any, name: str) -> Any:
    """The model with compressed weights.

    Args:
        model: an `ov.Model`; it is changed.
        name: `int8` (one scale and zero point a row) or `int4` (one scale for `GROUP` weights;
            embeddings and the last layer in 8 bits, which is NNCF's default).
    """
    return nncf.compress_weights(model, **SETTINGS[name])
