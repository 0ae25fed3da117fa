"""Commands of `python -m harness`, one file each: arguments and printed text."""
