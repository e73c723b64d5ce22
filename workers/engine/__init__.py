"""One thread that owns the device: what a tick does, and what it leaves to do."""
