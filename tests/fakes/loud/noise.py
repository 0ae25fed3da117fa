"""A module that prints as it is imported, as SDKs do: in Python and in C."""

import os

print("\x1b[31m::error::as it is imported", flush=True)
os.write(1, b"::error::by C code as it is imported\n")
os.write(2, b"::warning::by C code as it is imported\n")
