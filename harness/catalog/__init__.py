"""What there is to run: model lists, heads, requirements, backends, exceptions from checks."""
