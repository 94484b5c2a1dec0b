"""Discrete-event simulation: cluster, users and grids in virtual time around the engine of the service."""
