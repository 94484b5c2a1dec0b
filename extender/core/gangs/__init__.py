"""Gangs: the request, the members, the reserved room."""
