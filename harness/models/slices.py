"""Slices of models: published widths, and a chosen number of layers of each kind.

Time and memory of a model grow by the same amount with each further layer of a kind, so that two
slices of different depth tell those of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.contract import HarnessError
from harness.toolkit.close_matches import did_you_mean

#: Layers of each kind that a wide model keeps.
LAYERS_OF_A_KIND = 2


class LayersWanted(Protocol):
    """How many layers of a kind a slice shall have."""

    def __call__(self, label: str, whole: int, usual: int) -> int:
        """The number of layers.

        Args:
            label: of the kind and its stack, as `text_config.num_hidden_layers[full_attention]`.
            whole: how many the unsliced model has.
            usual: how many a wide model has, where the whole has so many.
        """


@dataclass(slots=True)
class Slice:
    """A config with some of the layers of the published one.

    Attributes:
        config: of the slice.
        layers: how many layers of each kind it has, by the name of the field that counts them:
            `text_config.num_hidden_layers[full_attention]`, say, or `depths[2]` for a stage.
        whole: how many the published config has.
    """

    config: Any
    layers: dict[str, int] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)


def usual_layers(label: str, whole: int, usual: int) -> int:
    """The layers of a wide model; see `LayersWanted`."""
    return min(whole, usual)


def chosen_layers(chosen: Mapping[str, int]) -> LayersWanted:
    """So many layers as are chosen by label, and those of a wide model elsewhere.

    Args:
        chosen: layers by label, 1 at least; more than the whole has are as many as it has.
    """

    def wanted(label: str, whole: int, usual: int) -> int:
        return min(whole, chosen.get(label, usual))

    return wanted


def check_labels(chosen: Mapping[str, int], found: Slice) -> None:
    """Refuse layers of kinds that a model has not.

    Args:
        chosen: layers by label.
        found: the slice that was made of them.

    Raises:
        HarnessError: a label is none of the model's, or a number is not above 0.
    """
    for label, count in chosen.items():
        if label not in found.whole:
            close = did_you_mean(label, found.whole)
            raise HarnessError(
                f"expected layers of {', '.join(found.whole) or 'nothing'}, found `{label}`."
                f"{close} Fix: take the labels of `Slice.whole`"
            )
        if count < 1:
            raise HarnessError(
                f"expected 1 layer or more of `{label}`, found {count}. Fix: ask for 1"
            )


def sliced_fields(
    fields: Mapping[str, Any], counts: re.Pattern[str], wanted: LayersWanted
) -> Slice:
    """A slice of a model whose constructor's arguments count layers, each a stack of equal ones.

    Args:
        fields: the arguments.
        counts: matches the whole name of each argument that counts layers.
        wanted: how many layers.
    """
    found = Slice(dict(fields))
    for name, value in fields.items():
        if counts.fullmatch(name) and isinstance(value, int) and value > 0:
            found.whole[name] = value
            found.config[name] = found.layers[name] = wanted(name, value, LAYERS_OF_A_KIND)
    return found
