"""A real control plane, real and fake nodes, and real Spark, for the end-to-end tests."""
