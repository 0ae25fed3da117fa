"""Answers of a class's own `generate()`: one that raises, forgets its cache, or mixes rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from function_backend import FunctionBackend, FunctionCase, Runner

from harness.checks import own_generate
from harness.contract import Array, Arrays, LibraryFault

INPUTS: Arrays = {"x": np.arange(12, dtype=np.float32).reshape(2, 6)}

#: From inputs, whether there is a cache, the dtype and the seed to tokens.
Answer = Callable[[Array, bool, str, int], Array]


def tokens(x: Array, cached: bool, dtype: str, seed: int) -> Array:
    """Each row's own numbers, as ids."""
    return (x * 7 % 5).astype(np.int64)


class OwnCase(FunctionCase):
    """A case whose class answers so."""

    def __init__(self, made: Answer | None = tokens) -> None:
        super().__init__()
        self.made = made

    def own_answer(
        self,
        inputs: Arrays,
        settings: Mapping[str, Any],
        *,
        dtype: str = "float32",
        seed: int = 0,
    ) -> Arrays | None:
        if self.made is None:
            return None
        given = next(iter(inputs.values()))
        return {"output": self.made(given, settings.get("use_cache", True), dtype, seed)}


def check(made: Answer | None) -> None:
    case: Any = OwnCase(made)
    own_generate.check(case, INPUTS)


RIGHT: Mapping[str, Answer | None] = {
    "tokens": tokens,
    "none": None,
    "drawn at random": lambda x, cached, dtype, seed: x.astype(np.int64) + seed,
    "a number a row": lambda x, cached, dtype, seed: x.sum(axis=1) * (1 + 1e-6 * cached),
    "close tokens": lambda x, cached, dtype, seed: (
        x.astype(np.int64) + (dtype == "float32") * cached
    ),
    "padded": lambda x, cached, dtype, seed: np.pad(x.astype(np.int64), [(0, 0), (0, len(x))]),
    "one for all rows": lambda x, cached, dtype, seed: np.full((1, 3), int(x.sum())),
}

WRONG: Mapping[str, Answer] = {
    "without the cache": lambda x, cached, dtype, seed: x.astype(np.int64) * cached,
    "off by 0.01": lambda x, cached, dtype, seed: x.sum(axis=1) * (1.01 - 0.01 * cached),
    "of row 0 alone": lambda x, cached, dtype, seed: x + x.sum(),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name: str) -> None:
    check(RIGHT[name])


def raising(error: Exception) -> Answer:
    def made(x: Array, cached: bool, dtype: str, seed: int) -> Array:
        raise error

    return made


def test_a_generate_that_raises_is_the_librarys_fault() -> None:
    error = AttributeError("'RagConfig' object has no attribute 'num_return_sequences'")
    with pytest.raises(LibraryFault, match=r"^own-generate: .*AttributeError: 'RagConfig' object"):
        check(raising(error))


def test_a_generate_that_refuses_in_words_is_left_out() -> None:
    check(raising(ValueError("The following `model_kwargs` are not used by the model: ['x']")))


@pytest.mark.parametrize("said", WRONG)
def test_an_answer_that_cache_or_neighbours_change_is_the_librarys_fault(said: str) -> None:
    with pytest.raises(LibraryFault, match=said):
        check(WRONG[said])


def test_the_check_is_one_of_sessions_on_the_library_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Runner(monkeypatch)
    backend = FunctionBackend(OwnCase(raising(KeyError("layers"))))
    assert "own-generate" not in run(backend).reason
    result = run(backend, checks_library=True)
    assert result.reason.startswith("own-generate: generate(): expected an answer, found KeyError")


def test_rag_answers_each_question() -> None:
    pytest.importorskip("transformers")
    from harness.catalog import model_lists
    from harness.models.case import TinyCase

    case = TinyCase(model_lists.load().entries["rag"], head="retrieval-augmented-generation")
    answer = case.own_answer(case.inputs(), {})
    assert answer is not None
    (ids,) = answer.values()
    assert ids.shape[0] == 2
    assert 0 <= ids.min() <= ids.max() < 128


def test_a_case_whose_tokens_are_judged_has_no_answer_of_its_own() -> None:
    pytest.importorskip("transformers")
    from harness.catalog import model_lists
    from harness.models.case import TinyCase

    entry = model_lists.load().entries["gpt2"]
    for head in ("text-generation", "base"):
        case = TinyCase(entry, head=head)
        assert case.own_answer(case.inputs(), {}) is None
