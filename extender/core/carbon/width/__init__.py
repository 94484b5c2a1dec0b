"""How many executors may run: one file a policy."""
