"""What the fork server imports and reads once, so that no child pays for it again."""

from __future__ import annotations

import tempfile  # noqa: F401

import numpy.random  # noqa: F401

from backends.mock.backend import recorded

recorded()
