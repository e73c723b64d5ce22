"""One fault a file: what is broken, and what must hold nevertheless."""
