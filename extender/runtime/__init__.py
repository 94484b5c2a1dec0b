"""The running service: the only place that joins adapters to the engine."""
