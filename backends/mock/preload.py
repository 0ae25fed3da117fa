"""What the fork server imports and reads once, so that no child pays for it again."""

from __future__ import annotations

from backends.mock.backend import recorded

recorded()
