"""Checks that `make lint` runs; no part of the product."""
