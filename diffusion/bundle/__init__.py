"""A model's folder, loaded."""
