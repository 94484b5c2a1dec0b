"""What holding work back for cleaner power is worth: `python -m benchmarks.holding`."""
