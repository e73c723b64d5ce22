"""The APIs that other tools already speak, each a translation onto the same jobs."""
