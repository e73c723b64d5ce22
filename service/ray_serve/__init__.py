"""The door and its workers on Ray Serve."""
