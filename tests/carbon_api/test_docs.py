"""The page for users keeps step with the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from carbon_api.api.prometheus import Intensities
from carbon_api.clock import WallClock
from carbon_api.readings import EXPLANATIONS, Kind
from carbon_api.settings import parse
from carbon_api.store import Store, Zone

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "carbon-api.md").read_text(encoding="utf-8")


def test_every_reason_is_in_the_table():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert {reason: rows[reason] for reason in EXPLANATIONS} == EXPLANATIONS


def test_every_metric_is_in_the_table():
    zone = Zone("XX", "XX", Kind.AVERAGE, "test", WallClock(lambda: 0.0))
    for family in Intensities(Store([zone])).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}`" in PAGE


def test_the_example_settings_are_settings():
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    main = yaml.safe_load(examples[0])
    for more in examples[1:]:
        main |= yaml.safe_load(more)
    assert set(parse(main).zones) == {"DE", "west", "FR", "CAISO_NORTH", "GB", "ES"}
