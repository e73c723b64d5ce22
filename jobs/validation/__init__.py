"""Checks of what clients send."""
