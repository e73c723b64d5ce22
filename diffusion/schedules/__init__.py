"""Noise schedules: the processes that models were trained on, and the levels that a job visits."""
