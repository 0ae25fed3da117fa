"""Chores of the project: what is generated from the code, and the pins."""
