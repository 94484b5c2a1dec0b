"""REST for people and probes: health, state, explanations."""
