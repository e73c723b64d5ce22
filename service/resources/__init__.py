"""The JSON that clients read, and the links in it."""
