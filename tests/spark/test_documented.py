"""docs/annotations.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extender.adapters.spark import conf
from extender.adapters.spark.annotations import FIELDS, PALANTIR_DRIVER
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.queue.packing import PACKERS
from tests.spark.support import OWN, PALANTIR, read_annotations, read_conf, refusal

DOCUMENT = (Path(__file__).parents[2] / "docs" / "annotations.md").read_text(encoding="utf-8")
REFUSED, MISSING = (
    block.strip().splitlines() for block in re.findall(r"```text\n(.*?)```", DOCUMENT, re.DOTALL)
)


def read_like(line: str) -> GangSpec | SpecProblem:
    """The answer for a request that is sound but for what this documented refusal shows."""
    stated = dict(re.findall(r"((?:carbon-scheduler/|spark)[a-zA-Z.-]+)=([^:;]+)", line))
    key = next(iter(stated))
    if key.startswith("spark."):
        return read_conf(stated)
    if key.startswith("spark-"):
        return read_annotations({**PALANTIR, **stated})
    rest = {} if "count" in key else OWN
    return read_annotations({**rest, **stated})


@pytest.mark.parametrize("line", REFUSED)
def test_documented_refusal(line: str) -> None:
    assert refusal(read_like(line)) == line


def test_documented_texts_for_what_is_missing() -> None:
    without_memory = {key: text for key, text in OWN.items() if not key.endswith("memory")}
    assert [
        refusal(read_annotations(without_memory)),
        refusal(read_conf({"spark.executor.resource.gpu.amount": "1"})),
        refusal(read_annotations({})),
    ] == MISSING


def test_every_key_and_packer_is_documented() -> None:
    keys = [f"carbon-scheduler/executor-{field}" for field in FIELDS]
    keys += [key for key, _ in PALANTIR_DRIVER]
    keys += [text for name, text in vars(conf).items() if name.isupper() and str(text).startswith("spark.")]
    keys += PACKERS
    missing = [key for key in keys if key not in DOCUMENT]
    assert not missing


@pytest.mark.parametrize(
    ("options", "mib"),
    [
        ("spark.executor.memory=4g", 4505),
        ("spark.executor.memory=8g spark.executor.memoryOverheadFactor=0.25", 10240),
        ("spark.executor.memory=8g spark.kubernetes.memoryOverheadFactor=0.4", 11468),
        ("spark.executor.memory=8g spark.executor.memoryOverhead=3g", 11264),
    ],
)
def test_numbers_of_the_size_table(options: str, mib: int) -> None:
    answer = read_conf(dict(option.split("=") for option in options.split()))
    assert isinstance(answer, GangSpec)
    assert answer.worker["memory"] == mib << 20
    assert f"= {mib} MiB |" in DOCUMENT
