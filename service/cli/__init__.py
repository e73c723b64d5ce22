"""The command line: ``sfumato``."""
