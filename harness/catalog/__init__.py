"""What there is to run: model lists, heads, requirements, backends, exemptions from checks."""
