"""Other APIs, called by their own unmodified clients."""
