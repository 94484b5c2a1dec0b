"""A virtual cluster around the service as users run it: API server, schedulers, kubelets, Spark."""
