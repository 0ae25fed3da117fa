"""Stacks of layers in an unshrunk config, and the kind of each layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.models.shrink.configs import Config, declared_defaults
from harness.models.shrink.layers import SHARED_LAYERS, is_pattern, is_per_layer, layer_count
from harness.models.shrink.lists import DEPTHS
from harness.models.shrink.rules import rule_of
from harness.models.slices import LAYERS_OF_A_KIND, LayersWanted

#: Layers of each stage that a wide model keeps. The first block of a stage is unlike the others
#: (ResNet's), and neighbours differ (Swin's windows): two of each are four.
LAYERS_OF_A_STAGE = 4

#: Kinds of layers that a wide model keeps. Lists with more values are no kinds: Mistral Large 4's
#: `kv_source_layers` names another layer for each.
MOST_KINDS = 6

#: The kind of a layer whose stack has one kind only.
ALIKE = "layer"

#: Lists of the layers that are of another kind, by index, as SAM's `global_attn_indexes`.
KIND_INDICES = re.compile(
    r"global_attn_indexes|fullatt_block_indexes|cross_attention_layers|mlp_only_layers|moe_layers"
    r"|full_attn_idxs|hybrid_layer_ids|attn_layer_indices|window_block_indexes|rope_scaling_layers"
    r"|look_(ahead|backward)_layers|subsample_layers"
)

#: Lists of the layers whose outputs a head reads, by index, as DPT's `backbone_out_indices`.
OUTPUT_INDICES = re.compile(
    r"backbone_out_indices|deepstack_visual_indexes|intermediate_layers_indices"
    r"|intermediate_hidden_state_indices|extract_layers|intermediate_hook_ids"
)

#: Lists of the layer that each layer takes keys and values from.
SOURCES = re.compile(r"kv_source_layers")

#: Counts of the first layers, which are of another kind, as DeepSeek's `first_k_dense_replace`.
FIRST_LAYERS = re.compile(r"first_k_dense_replace|num_dense_layers|moe_layer_start_index")

#: Fields of configs whose first layer alone has a table of relative positions, as T5's.
POSITIONS_IN_FIRST = re.compile(r"relative_attention_num_buckets")

#: Stacks of few convolutions, each unlike the others, which stay whole: SpeechT5's postnet.
WHOLE = re.compile(
    r".*_(postnet|predictor)_layers|kernel_predictor_num_blocks|depth_separable_num_layers"
)

#: Distances between layers of another kind that no list tells, as Jamba's `attn_layer_period`. Its
#: layers can't be chosen: those up to the second one of each kind are kept.
PERIODS = re.compile(
    r"attn_layer_period|expert_layer_period|(encoder_|decoder_)?sparse_step"
    r"|cross_attention_frequency|layer_group_size|moe_layer_interval"
)


@dataclass(frozen=True, slots=True)
class LayerStack:
    """The layers that one field of a config counts, or one item of a list of depths.

    Attributes:
        name: of the field, with the item's index in brackets for a list of depths.
        kinds: of each layer.
        least: layers that a slice keeps at least.
        usual: layers of each kind that a wide model keeps.
        kept: indices of layers that every slice keeps.
        is_prefix: whether a slice is the first layers, none left out between them.
    """

    name: str
    kinds: tuple[str, ...]
    least: int = 1
    usual: int = LAYERS_OF_A_KIND
    kept: frozenset[int] = frozenset()
    is_prefix: bool = False

    def label(self, kind: str) -> str:
        """The name of a kind of layers of this stack."""
        return self.name if kind == ALIKE else f"{self.name}[{kind}]"

    def chosen(self, where: str, wanted: LayersWanted) -> tuple[int, ...]:
        """Indices of the layers of a slice, in ascending order: the first ones of each kind.

        Args:
            where: the prefix of labels.
            wanted: how many of each kind.
        """
        left = {
            kind: wanted(where + self.label(kind), self.kinds.count(kind), self.usual)
            for kind in list(dict.fromkeys(self.kinds))
        }
        order = list(left)[MOST_KINDS:]
        left |= dict.fromkeys(order, 0)
        found = set(self.kept)
        for index, kind in enumerate(self.kinds):
            if left[kind] > 0:
                found.add(index)
                left[kind] -= 1
        for index in range(len(self.kinds)):
            if len(found) >= self.least:
                break
            found.add(index)
        if self.is_prefix and found:
            found = set(range(max(found) + 1))
        return tuple(sorted(found))

    def counts(self, where: str, indices: tuple[int, ...] | None = None) -> Mapping[str, int]:
        """How many layers of each kind there are, by label.

        Args:
            where: the prefix of labels.
            indices: of the layers that count; None for all.
        """
        kinds = [self.kinds[i] for i in (range(len(self.kinds)) if indices is None else indices)]
        return {where + self.label(kind): kinds.count(kind) for kind in dict.fromkeys(kinds)}


def stacks_of(plain: Config) -> dict[str, LayerStack | tuple[LayerStack, ...]]:
    """The stacks of a config by field: one, or one for each item of a list of depths.

    Args:
        plain: the unshrunk config, without its sub-configs.
    """
    found: dict[str, LayerStack | tuple[LayerStack, ...]] = {}
    stages = set[int]()
    for name, value in vars(plain).items():
        if DEPTHS.fullmatch(name) and isinstance(value, list | tuple) and value:
            if not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
                continue
            stages.add(len(value))
            found[name] = tuple(
                LayerStack(f"{name}[{i}]", (ALIKE,) * v, usual=LAYERS_OF_A_STAGE)
                for i, v in enumerate(value)
            )
    declared = declared_defaults(type(plain))
    main = _main_field(plain)
    for name, value in vars(plain).items():
        rule = rule_of(name)
        is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if rule is None or rule.kind != "layers" or not is_count or name not in declared:
            continue
        if WHOLE.fullmatch(name) or (value in stages and len(stages) == 1 and main == name):
            continue  # as the field that counts the stages
        found[name] = _main_stack(plain, name) if name == main else _side_stack(plain, name, value)
    return found


def _side_stack(plain: Config, name: str, count: int) -> LayerStack:
    """A stack beside the main one, as the decoder of BART."""
    half = re.fullmatch(r"(?:num_)?((?:en|de)coder)_layers", name)
    step = vars(plain).get(f"{half[1]}_sparse_step", 1) if half else 1
    sparse = [
        f"{half[1]}_sparse_step" if half and i % step == step - 1 else "" for i in range(count)
    ]
    columns = [sparse if step > 1 else [""] * count, *_first(plain, count)]
    return LayerStack(name, _joined(columns, count), is_prefix=step > 1)


def _joined(columns: Sequence[Sequence[str]], count: int) -> tuple[str, ...]:
    """The kind of each layer: its words of all columns."""
    kinds = ("+".join(dict.fromkeys(c[i] for c in columns if c[i])) for i in range(count))
    return tuple(kind or ALIKE for kind in kinds)


def _first(plain: Config, count: int) -> Iterator[list[str]]:
    if any(POSITIONS_IN_FIRST.fullmatch(name) for name in vars(plain)):
        yield ["first", *[""] * (count - 1)]


def _main_field(plain: Config) -> str | None:
    """The declared field that counts a config's layers."""
    count = layer_count(plain)
    declared = declared_defaults(type(plain))
    for name in ("num_hidden_layers", "n_layer", "num_layers", "n_layers"):
        if name in declared and vars(plain).get(name) == count is not None:
            return name
    return None


def _main_stack(plain: Config, name: str) -> LayerStack:
    count = layer_count(plain) or 0
    columns = [*_columns(plain, count), *_first(plain, count)]
    listed = any(is_per_layer(f, v, plain) and not is_indices(f) for f, v in vars(plain).items())
    outputs = vars(plain).get("_out_indices") or ()
    return LayerStack(
        name,
        _joined(columns, count),
        least=min(count, max(len(outputs), 1)),
        kept=frozenset(_read_layers(plain, count)),
        is_prefix=not listed
        and any(
            PERIODS.fullmatch(field) and isinstance(value, int) and 1 < value <= count
            for field, value in vars(plain).items()
        ),
    )


def _columns(plain: Config, count: int) -> Iterator[list[str]]:
    """For each field that tells layers apart, a word for each layer."""
    for name, value in vars(plain).items():
        if KIND_INDICES.fullmatch(name) and isinstance(value, list | tuple):
            if any(i not in value for i in range(count)) and value:
                yield [name if i in value else "" for i in range(count)]
        elif FIRST_LAYERS.fullmatch(name) and isinstance(value, int) and 0 < value < count:
            yield [name if i < value else "" for i in range(count)]
        elif SHARED_LAYERS.fullmatch(name) and isinstance(value, int) and 0 < value < count:
            yield [name if i >= count - value else "" for i in range(count)]
        elif PERIODS.fullmatch(name) and isinstance(value, int) and 1 < value <= count:
            offset = vars(plain).get(f"{name.removesuffix('period')}offset", value - 1)
            yield [name if i % value == offset else "" for i in range(count)]
        elif is_pattern(name, value) and len(value) < count:
            yield [value[i % len(value)] for i in range(count)]
        elif is_per_layer(name, value, plain) and not is_indices(name):
            words = [item if isinstance(item, str) else f"{name} {item}" for item in value]
            if 1 < len(set(words)) <= MOST_KINDS:
                yield words
        elif is_repeated(value):
            words = [word for words, times in value for word in list(words) * times]
            if len(words) == count:
                yield words


def is_indices(name: str) -> bool:
    """Whether a field lists layers by index."""
    return any(p.fullmatch(name) for p in (KIND_INDICES, OUTPUT_INDICES, SOURCES))


def is_repeated(value: Any) -> bool:
    """Whether a value lists kinds of layers and their repeats, as GPT-Neo's `attention_types`."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(
            isinstance(item, list | tuple)
            and len(item) == 2
            and isinstance(item[0], list | tuple)
            and all(isinstance(word, str) for word in item[0])
            and isinstance(item[1], int)
            for item in value
        )
    )


def _read_layers(plain: Config, count: int) -> Iterator[int]:
    """Indices of the layers whose outputs are read."""
    for name, value in vars(plain).items():
        if OUTPUT_INDICES.fullmatch(name) and isinstance(value, list | tuple):
            yield from (i for i in value if isinstance(i, int) and 0 <= i < count)
