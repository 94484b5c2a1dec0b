"""The cluster as arrays: nodes, constraint classes, fit counts, order."""
