"""The web page at ``/``: plain files that a browser runs as they are."""
