"""fal's API."""
