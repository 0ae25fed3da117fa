"""Writes the checkpoint of `ticket_bert` into `checkpoints/`, as a fine-tuning would leave it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

FOLDER = Path("checkpoints", "acme", "ticket-bert")


def main() -> None:
    """Write a small model with random weights."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        num_labels=5,
    )
    BertForSequenceClassification(config).save_pretrained(FOLDER)
    print(f"{FOLDER}: {sum(file.stat().st_size for file in FOLDER.iterdir())} bytes")


if __name__ == "__main__":
    main()
