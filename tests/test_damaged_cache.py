"""Damage to a key-value cache: each kind changes what a cache holds, and counts what it changed."""

from __future__ import annotations

from typing import Any

import pytest

from harness.models import damaged_cache

torch: Any = pytest.importorskip("torch")

BATCH, HEADS, LENGTH, SIZE = 2, 1, 3, 4


class KeyCache:
    """Keys and values of one layer, as a cache of transformers holds them."""

    def __init__(self) -> None:
        self.keys = torch.arange(BATCH * HEADS * LENGTH * SIZE, dtype=torch.float32)
        self.keys = self.keys.reshape(BATCH, HEADS, LENGTH, SIZE) + 1
        self.length = torch.tensor(LENGTH)


class Decoder(torch.nn.Module):
    """Answers with what it was given."""

    def forward(self, input_ids: Any, past_key_values: Any = None) -> Any:
        return input_ids if past_key_values is None else past_key_values.keys.clone()


class Wrapper(torch.nn.Module):
    """Hands its cache on to the part that generates."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder()

    def forward(self, input_ids: Any, past_key_values: Any = None) -> Any:
        return self.decoder(input_ids, past_key_values=past_key_values)


def answered(damage: str) -> Any:
    """The keys as the model gets them."""
    model = Wrapper()
    with damaged_cache.damaged(model, damage) as touched:
        model(torch.zeros(1))
        assert touched == []
        keys = model(torch.zeros(1), past_key_values=KeyCache())
        assert touched == [1], "once, though two modules take the cache, and no integer"
    assert (model(torch.zeros(1), past_key_values=KeyCache()) == KeyCache().keys).all()
    return keys


def test_the_past_is_zeroed() -> None:
    assert not answered("zeroed").any()


def test_the_past_is_shifted_by_a_place() -> None:
    keys = answered("shifted")
    assert not keys[:, :, 0].any()
    assert (keys[:, :, 1:] == KeyCache().keys[:, :, :-1]).all()


def test_the_past_is_that_of_another_row() -> None:
    assert (answered("of another row") == KeyCache().keys.flip(0)).all()


def test_a_state_has_no_place_to_be_shifted_by() -> None:
    assert not damaged_cache.shifted("recurrent_states", torch.ones(BATCH, HEADS, LENGTH, SIZE))
    assert not damaged_cache.shifted("keys", torch.ones(BATCH, SIZE))


def test_a_cache_that_holds_nothing_is_not_damaged_by_forgetting() -> None:
    assert not damaged_cache.zeroed("keys", torch.zeros(BATCH, SIZE))
