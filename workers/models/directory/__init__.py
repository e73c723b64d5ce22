"""The models directory: what is installed, what is being added, and what was asked for."""
