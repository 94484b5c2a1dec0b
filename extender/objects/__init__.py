"""Kubernetes objects as typed projections: the fields we read, decoded once, nothing kept whole."""
