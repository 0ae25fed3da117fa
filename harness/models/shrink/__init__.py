"""Shrinking: a small config from a config class of transformers."""
