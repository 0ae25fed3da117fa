"""The stages of one cell, in the child process, from its request to its outcome."""
