"""The HTTP front door: API, event streams, Python client and command line. Never imports torch."""
