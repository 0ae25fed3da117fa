"""Session: one run of a backend under pytest, from options and items to the summary."""
