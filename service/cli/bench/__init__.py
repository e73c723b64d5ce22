"""``sfumato bench``: a service under open-loop load."""
