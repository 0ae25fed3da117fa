"""Recorded checkpoints: names, config and outputs of what older versions saved."""
