"""Models on this machine: added, listed, described, checked and removed."""
