"""Spark's dialect: labels, annotations and spark.* configuration, read into a GangSpec."""

from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader

__all__ = ["SpecReader", "identify"]
