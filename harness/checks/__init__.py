"""Checks of a result: controls, variants of the inputs, generation, properties of families."""
