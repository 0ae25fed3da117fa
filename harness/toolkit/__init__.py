"""Toolkit of backends and of every wing: seeded values, numerics, cache, files, names."""
