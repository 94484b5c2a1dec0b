"""docs/metrics.md, made from the list of metrics: `python -m tools.metrics_page` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from extender.adapters.api.metric_families import FAMILIES, Family

TARGET: Final = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

_HEAD: Final = """\
# Metrics

`python -m tools.metrics_page` writes this page; do not edit it.

The extender answers `GET /metrics` in the text format of Prometheus. [carbon-api.md](carbon-api.md) lists the
metrics of the carbon service. Alert rules and dashboards are in `manifests/components/monitoring`.

A counter only grows, and its name ends in `_total`. It begins at 0 when the process starts, so query it with
`rate()` or `increase()`. Amounts are in base units: cpu in millicores, memory in bytes. An unknown value has
no sample.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The file's text."""
    return _HEAD + "".join(map(_row, FAMILIES))


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.exposed_name}` | {family.type} | {labels} | {family.help} |\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
