"""Preloading for the fork server: numpy and the recorded signatures, read once for all children."""

from __future__ import annotations

import tempfile  # noqa: F401

import numpy.random  # noqa: F401

from backends.mock.backend import recorded

recorded()
