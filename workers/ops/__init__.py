"""Health, probes, metrics and the process itself."""
