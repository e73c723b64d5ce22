"""What a model is worth: drawings measured, and the documents that say so."""
