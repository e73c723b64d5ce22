"""The training loop, its networks and its checkpoints."""
