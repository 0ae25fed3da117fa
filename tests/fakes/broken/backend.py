"""A backend whose SDK crashes when it is imported."""

import ctypes

ctypes.string_at(0)
