"""The networks that are served, each behind one interface."""
