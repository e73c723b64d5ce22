"""Clients in other environments: of Node, and of a Python whose libraries are not ours."""
