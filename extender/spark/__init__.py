"""Spark's dialect: labels, annotations and spark.* configuration, read into a GangSpec."""

from extender.spark.identify import identify
from extender.spark.reader import SpecReader

__all__ = ["SpecReader", "identify"]
