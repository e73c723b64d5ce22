"""``sfumato grid``: two parameters against each other, in one picture."""
