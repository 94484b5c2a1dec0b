"""The installed Spark versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import E2E


@dataclass(frozen=True)
class SparkHome:
    """One PySpark in its own virtual environment; it brings jars and scripts."""

    version: str
    venv: str

    @property
    def python(self) -> Path:
        return E2E / ".venvs" / self.venv / "bin" / "python"

    @property
    def home(self) -> Path:
        found = sorted((E2E / ".venvs" / self.venv / "lib").glob("python*/site-packages/pyspark"))
        if not found:
            raise FileNotFoundError(f"PySpark {self.version} is not installed: run setup_tools.py")
        return found[0]

    @property
    def submit(self) -> Path:
        return self.home / "bin" / "spark-submit"


SPARK_3 = SparkHome("3.5.9", "spark-3.5")
SPARK_4 = SparkHome("4.3.0", "spark-4")
SPARKS = {spark.version: spark for spark in (SPARK_3, SPARK_4)}


def spark_home(pod: Object) -> SparkHome:
    """Spark labels its pods with its version, and mixing versions in one application cannot work."""
    return SPARKS[pod["metadata"]["labels"]["spark-version"]]
