"""Special tokens of a small config, whose ids must lie within its small vocabulary."""

from __future__ import annotations

import re

from harness.models.shrink.configs import Config, is_config
from harness.models.shrink.rules import rule_of

VOCABULARY = 128

#: Ids at the end of the vocabulary that are free for special tokens.
RESERVED = 40

#: Fields with the id of the token in whose place an encoder's features go.
_PLACEHOLDER = re.compile(r"(image|video|audio)_token_(id|index)")


class SpecialTokens:
    """Ids of one config's special tokens, the same in all of its sub-configs."""

    def __init__(self) -> None:
        self._moved: dict[int | str, int] = {}

    def small(self, token: int) -> int:
        """The id itself, or a distinct one at the vocabulary's end for an id beyond the others."""
        return token if token < VOCABULARY - RESERVED else self._distinct(token)

    def move_inside(self, config: Config, vocabulary: int | None = None) -> None:
        """Gives ids within the vocabulary to special tokens beyond it, in all sub-configs too.

        `LlavaConfig` takes 32000 for its image, the first id beyond its default text's vocabulary.

        Args:
            config: with its published vocabulary; changed in place.
            vocabulary: of the text of the composite that it is a part of.
        """
        text = vars(config).get("text_config")
        for owner in (config, text):
            own = vars(owner).get("vocab_size") if owner is not None else None
            vocabulary = own if isinstance(own, int) and own > 0 else vocabulary
        for name, value in list(vars(config).items()):
            if is_config(value):
                self.move_inside(value, vocabulary)
                continue
            rule = rule_of(name)
            is_token = rule is not None and rule.kind == "token" and type(value) is int
            if is_token and vocabulary is not None and value >= vocabulary > VOCABULARY:
                setattr(config, name, self._distinct(value))

    def name_placeholders(self, config: Config) -> None:
        """Gives an id to each placeholder of media that only checkpoints' configs name.

        `MiniCPMV4_6Config` leaves its `image_token_id` None, for instance.
        """
        for name, value in list(vars(config).items()):
            if value is None and _PLACEHOLDER.fullmatch(name):
                setattr(config, name, self._distinct(name))

    def _distinct(self, key: int | str) -> int:
        return self._moved.setdefault(key, VOCABULARY - 1 - len(self._moved))
