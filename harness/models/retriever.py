"""A few documents and their vectors, searched with numpy: the index of a small RAG model.

The library's own retriever wants faiss, datasets and a download; a model only calls it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.contract import Array
from harness.toolkit.seeded_values import integers, uniform

#: How many there are to choose from.
DOCUMENTS = 32
#: Tokens of each.
DOCUMENT_LENGTH = 8


class LocalIndex:
    """Stands where `transformers.RagRetriever` stands: nearest documents by inner product.

    Args:
        width: of a question's vector.
        length: tokens of a document.
        vocabulary: ids of tokens are below this; the first three are special.
        seed: of the documents and their vectors.
    """

    def __init__(self, width: int, length: int, vocabulary: int, seed: int = 0) -> None:
        self.vectors: Array = uniform(seed, "retriever/vectors", (DOCUMENTS, width))
        self.documents = integers(seed, "retriever/documents", (DOCUMENTS, length), 3, vocabulary)

    def nearest(self, questions: Array, count: int) -> Array:
        """Indices of the nearest documents, the nearest first: (questions, count)."""
        scores = questions.astype(np.float64) @ self.vectors.T.astype(np.float64)
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]

    def __call__(
        self,
        input_ids: Any,
        question_hidden_states: Array,
        prefix: str | None = None,
        n_docs: int = 1,
        return_tensors: str | None = None,
    ) -> dict[str, Any]:
        """The nearest documents, as tensors under the names of the library's retriever.

        Args:
            input_ids: (batch, length) tokens of the questions, which go behind each document.
            question_hidden_states: (batch, width) vectors of the questions.
            prefix: a text before each document; the index has no tokenizer and ignores it.
            n_docs: documents for each question.
            return_tensors: only `pt`.
        """
        import torch

        ids = self.nearest(question_hidden_states, n_docs)
        questions = np.repeat(input_ids.cpu().numpy(), n_docs, axis=0)
        context = np.concatenate([self.documents[ids.ravel()], questions], axis=1)
        return {
            "context_input_ids": torch.from_numpy(context),
            "context_attention_mask": torch.ones(context.shape, dtype=torch.int64),
            "retrieved_doc_embeds": torch.from_numpy(self.vectors[ids].astype(np.float32)),
            "doc_ids": torch.from_numpy(ids),
        }


def retrieving(cls: type) -> type:
    """The same model, which comes with an index: `from_pretrained` makes one with it too."""

    def with_index(self: Any, config: Any, *args: Any, **rest: Any) -> None:
        cls.__init__(self, config, *args, **rest)  # type: ignore[misc]
        width, vocabulary = config.question_encoder.hidden_size, config.generator.vocab_size
        self.set_retriever(LocalIndex(width, DOCUMENT_LENGTH, vocabulary))

    return type(cls.__name__, (cls,), {"__init__": with_index, "__module__": cls.__module__})
