"""One known-answer test: inputs made of a question, and the judge of outputs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.contract import Array, Arrays, CheckFailed

#: The name of its inputs among a cell's.
NAME = "known-answer"

#: Rows of a batch: a program that was exported with two may have fixed that one is none.
ROWS = 2


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A question, as arrays, and how its answer is read.

    Attributes:
        question: in words.
        expected: in words.
        inputs: of the model, by argument name.
        answer: the answer in words that outputs hold, and whether it is right.
    """

    question: str
    expected: str
    inputs: Arrays
    answer: Callable[[Mapping[str, Array]], tuple[str, bool]]

    def check(self, outputs: Mapping[str, Array]) -> None:
        """Refuse outputs with another answer.

        Raises:
            CheckFailed: the answer is wrong.
        """
        found, right = self.answer(outputs)
        if not right:
            raise CheckFailed(
                f"known answer: expected {self.expected} for {self.question}, found {found}. "
                "Fix: see whether weights, tokenizer and modeling code belong together; a "
                'checkpoint that reads no English is exempt with "known-answer" in '
                "harness/catalog/exemptions.toml",
                fault="known answer",
            )


def like(base: Mapping[str, Array], given: Mapping[str, Array]) -> Arrays | None:
    """Arrays for each argument that a model is given elsewhere; None where one is unknown.

    Args:
        base: the model's plain inputs.
        given: arrays of the question; masks that it lacks are 1 throughout, token types 0.
    """
    found: Arrays = {}
    main = next((array for name, array in given.items() if name in base), None)
    for name, plain in base.items():
        if name in given:
            found[name] = np.asarray(given[name]).astype(plain.dtype)
        elif main is None or main.ndim != plain.ndim:
            return None
        elif name.endswith("mask"):
            found[name] = np.ones(main.shape, plain.dtype)
        elif name == "token_type_ids":
            found[name] = np.zeros(main.shape, plain.dtype)
        else:
            return None
    return found
