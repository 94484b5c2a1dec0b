"""Waiting gangs and the pass that plans them together."""
