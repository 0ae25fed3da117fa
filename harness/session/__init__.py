"""One run of a backend under pytest: options, items, progress line, summary."""
