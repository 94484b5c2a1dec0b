"""How fast it is: `python -m benchmarks`, or `make bench`. See docs/benchmarks.md."""
