"""Spark's event log: reading it, live or afterwards, and profiling what it tells."""
