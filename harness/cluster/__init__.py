"""Cells spread over the nodes of a running cluster."""
