"""``sfumato bench``: a service under an open load."""
