"""Stage graphs of running applications: what is left, what is critical, how important each stage is."""
