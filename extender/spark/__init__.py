"""Spark's dialect: labels, annotations and spark.* configuration, read into a GangSpec."""
