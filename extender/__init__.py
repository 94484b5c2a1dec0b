"""carbon-scheduler: a gang- and carbon-aware kube-scheduler extender for Apache Spark."""

__version__ = "0.1.0"
