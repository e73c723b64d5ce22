"""The parts of a bundle: networks, encoders and tokenizers from a folder, checked and loaded."""
