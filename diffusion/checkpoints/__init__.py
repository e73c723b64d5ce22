"""Checkpoints in the layout of the code that trained them, turned into model directories."""
