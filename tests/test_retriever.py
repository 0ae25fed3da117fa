"""The index of a small RAG model, and retrieval with an encoder."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checks.families import rag
from harness.contract import Arrays, CheckFailed
from harness.models.retriever import DOCUMENTS, LocalIndex

IDS = np.array([[3, 4, 5, 6], [7, 8, 9, 3]])
BASE: Arrays = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
OTHER: Arrays = {"input_ids": IDS[::-1] + 2, "attention_mask": np.ones_like(IDS)}
TABLE = np.random.default_rng(0).standard_normal((16, 8))


def encoder(inputs: Arrays) -> Arrays:
    """A bag of words with positions."""
    ids = inputs["input_ids"]
    places = np.linspace(0.5, 1.5, ids.shape[1])[:, None]
    return {"pooler_output": (TABLE[ids] * places).sum(axis=1)}


def test_a_document_is_found_by_its_own_vector() -> None:
    index = LocalIndex(width=16, length=5, vocabulary=40)
    assert index.nearest(index.vectors * 3, 1).ravel().tolist() != [0] * DOCUMENTS
    scores = index.vectors @ index.vectors.T
    want = np.argsort(-scores, axis=1)[:, :4]
    assert (index.nearest(index.vectors, 4) == want).all()


def test_what_the_model_gets_is_the_document_and_then_the_question() -> None:
    torch = pytest.importorskip("torch")
    index = LocalIndex(width=16, length=5, vocabulary=40)
    found = index(torch.from_numpy(IDS), index.vectors[[7, 2]].astype(np.float32), n_docs=3)
    ids = found["doc_ids"].numpy()
    assert ids.shape == (2, 3)
    context = found["context_input_ids"].numpy()
    assert (context[:, :5] == index.documents[ids.ravel()]).all()
    assert (context[:, 5:] == np.repeat(IDS, 3, axis=0)).all()
    assert found["context_attention_mask"].shape == context.shape
    assert np.allclose(found["retrieved_doc_embeds"].numpy(), index.vectors[ids])


def test_the_seed_makes_the_index() -> None:
    first, same, other = (LocalIndex(4, 3, 9, seed) for seed in (0, 0, 1))
    assert (first.vectors == same.vectors).all()
    assert (first.documents == same.documents).all()
    assert (first.vectors != other.vectors).any()


def test_an_encoder_finds_each_document_by_its_own_text() -> None:
    loop = rag.loop(BASE, OTHER, encoder(BASE))
    assert loop is not None
    ended = loop.reference(encoder)
    assert ended["nearest"].tolist() == [0, 1]
    assert (ended["distance"] < 0).all()


def test_an_encoder_that_ignores_the_question_is_found() -> None:
    loop = rag.loop(BASE, OTHER, encoder(BASE))
    assert loop is not None
    with pytest.raises(CheckFailed, match="retrieval: expected"):
        loop.reference(lambda inputs: encoder(BASE))


@pytest.mark.parametrize(
    "outputs", [{"last_hidden_state": np.zeros((2, 4, 8))}, {"logits": np.zeros((2, 8))}]
)
def test_no_retrieval_without_one_vector_of_a_text(outputs: Arrays) -> None:
    assert rag.loop(BASE, OTHER, outputs) is None


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ([[1.0, 2], [3, 4]], [[5.0, 2], [3, 4]], None),
        ([[1.0, 2], [3, 4]], [[1.0, 2], [3, 4]], "another question"),
    ],
)
def test_another_question_finds_other_documents(
    before: list[list[float]], after: list[list[float]], wrong: str | None
) -> None:
    probe = next(p for p in rag.probes(BASE, OTHER) if p.name == "other-documents")
    found = probe.violation({rag.FOUND: np.array(before)}, {rag.FOUND: np.array(after)})
    assert (found is None) if wrong is None else (found is not None and wrong in found)
