"""Reporting the ends of jobs to clients' own servers."""
