"""The saving of holding work for cleaner power: `python -m benchmarks.holding`."""
