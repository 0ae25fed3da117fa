"""Arguments that are a graph: its nodes and edges are random, its shape is a ring."""

from __future__ import annotations

import numpy as np

from harness.contract import Array
from harness.inputs.input_maker import Function, InputMaker


def _ring(m: InputMaker) -> Array:
    """How many edges lie between each two nodes."""
    nodes = np.arange(m.length)
    steps = np.abs(nodes[:, None] - nodes)
    around: Array = np.minimum(steps, m.length - steps)
    return around


def _spatial_pos(m: InputMaker) -> Array:
    """Distances, one more each: 0 is for padding."""
    return np.tile(_ring(m) + 1, (m.batch, 1, 1)).astype(np.int64)


def _degrees(m: InputMaker) -> Array:
    return np.full((m.batch, m.length), 1 + 2, dtype=np.int64)


def _input_nodes(m: InputMaker) -> Array:
    return m.ints("input_nodes", (m.batch, m.length, 1), 1, int(m.find("num_atoms", default=2)))


def _input_edges(m: InputMaker) -> Array:
    """The edges on the shortest path between each two nodes; 0 after its end."""
    distances = _ring(m)
    steps = np.arange(distances.max())
    shape = (m.batch, *distances.shape, len(steps))
    edges = m.ints("input_edges", shape, 1, int(m.find("num_edges", default=2)))
    return np.where(steps < distances[..., None], edges, 0)[..., None]


def _attn_edge_type(m: InputMaker) -> Array:
    shape = (m.batch, m.length, m.length)
    edges = m.ints("attn_edge_type", shape, 1, int(m.find("num_edges", default=2)))
    return np.where(_ring(m) == 1, edges, 0)[..., None]


ARGUMENTS: dict[str, Function] = {
    "input_nodes": _input_nodes,
    "input_edges": _input_edges,
    "attn_bias": lambda m: np.zeros((m.batch, m.length + 1, m.length + 1), dtype=np.float32),
    "in_degree": _degrees,
    "out_degree": _degrees,
    "spatial_pos": _spatial_pos,
    "attn_edge_type": _attn_edge_type,
}
