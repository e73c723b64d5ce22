"""The documentation as a site: ``python -m deploy.docs build/docs``."""
