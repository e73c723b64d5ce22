"""The contract between door and workers: schema, states, store and queue."""
