"""Catalog: model lists, heads, requirements, selection, backends, exemptions from checks."""
