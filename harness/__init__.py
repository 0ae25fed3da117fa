"""The backend-agnostic harness: it imports no backend and, at import time, no torch."""

from harness.toolkit import public_name

public_name.answer()
