"""Helpers without knowledge of the product: logs, crash points."""
