"""Conformance of a backend: the promises of `harness.contract`, each held against what it does.

A session judges models; this judges the backend, one promise at a time. Each point of
`harness.cell.conformance.points` runs in a process of its own.
"""
