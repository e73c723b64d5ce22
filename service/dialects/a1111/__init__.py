"""AUTOMATIC1111's API, as webuiapi and other tools call it."""
