"""Compiler: an exported PyTorch program becomes an executable for inputs of its own shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from acme_sdk.kernels import HOST, NPU, OWN
from acme_sdk.runtime import Executable

#: Operators that compute nothing.
CHECKS = frozenset({torch.ops.aten._assert_tensor_metadata.default})


class UnsupportedOperator(Exception):
    """A program has an operator that neither the NPU nor the host has."""


def compile_program(program: Any, inputs: Sequence[str], *, fast: bool = False) -> Executable:
    """Compile a program.

    Args:
        program: a `torch.export.ExportedProgram` in float16.
        inputs: names of its inputs, in the order in which the executable takes them.
        fast: whether products are added up in float16 altogether.

    Raises:
        UnsupportedOperator: neither the NPU nor the host has one of the program's operators.
    """
    program = program.run_decompositions()
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target in CHECKS:
            program.graph.erase_node(node)
    for node in program.graph.nodes:
        if node.op == "call_function" and not _is_known(node.target):
            raise UnsupportedOperator(f"no kernel for {node.target}, and the host has none either")
    return Executable(program, inputs, fast=fast)


def _is_known(target: Any) -> bool:
    if not isinstance(target, torch._ops.OpOverload):
        return True  # what picks one of several results, as `getitem`
    name = target.overloadpacket.__name__
    return target in OWN or name in NPU or name in HOST
