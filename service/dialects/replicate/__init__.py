"""Replicate's API, as its own clients call it."""
