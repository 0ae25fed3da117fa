"""The checkout: the folder that this harness is part of."""

from __future__ import annotations

from pathlib import Path

#: The checkout that this file is part of.
ROOT = Path(__file__).resolve().parents[2]
