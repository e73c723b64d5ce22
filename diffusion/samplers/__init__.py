"""Samplers: each compiles the levels a job visits into a table of coefficients."""
