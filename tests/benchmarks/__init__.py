"""What Sfumato costs and what it gains, each figure a ratio measured within one run."""
