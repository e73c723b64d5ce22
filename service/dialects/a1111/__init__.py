"""AUTOMATIC1111's API, for webuiapi and similar tools."""
