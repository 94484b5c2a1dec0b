"""When a gang may start: one file a policy."""
