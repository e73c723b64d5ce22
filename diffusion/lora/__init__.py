"""LoRA: low-rank differences of a model's weights, read from the files that people have."""
