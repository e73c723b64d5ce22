"""``sfumato grid``: compare two parameters in one grid of images."""
