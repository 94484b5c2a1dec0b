"""The part that decides. Pure: no clock, no I/O, no framework (standard library and numpy only)."""
