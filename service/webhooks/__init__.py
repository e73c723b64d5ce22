"""Delivering the ends of jobs to clients' own servers."""
