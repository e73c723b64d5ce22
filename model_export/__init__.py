"""From data to a model bundle: train, evaluate, export, verify."""
