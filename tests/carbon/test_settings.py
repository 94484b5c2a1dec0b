"""Options of carbon and accounting."""

from __future__ import annotations

import pytest

from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.policy import CapPolicy
from extender.settings.loading import SettingsError, load


def test_without_a_service_nothing_is_known_of_cloud_regions():
    assert load().to_policy().carbon.zone_of({"topology.kubernetes.io/region": "eu-west-3"}) == ""


def test_regions_of_the_clouds_and_what_the_operator_says():
    policy = (
        load(None, {"carbon.url": "http://carbon", "carbon.zone_by_place": "{eu-west-3: XX, rack-7: YY}"})
        .to_policy()
        .carbon
    )
    region = "topology.kubernetes.io/region"
    assert policy.zone_of({region: "eu-west-3"}) == "XX"
    assert policy.zone_of({region: "eu-west-1"}) == "IE"
    assert policy.zone_of({"topology.kubernetes.io/zone": "rack-7"}) == "YY"
    assert policy.zone_of({region: "eu-west-1", "carbon-scheduler/carbon-zone": "ZZ"}) == "ZZ"
    assert policy.zone_of({region: "moon-1"}) == ""


def test_hold_defaults_and_the_budget_reach_the_core():
    policy = (
        load(
            None,
            {
                "holds.policy": "none",
                "holds.by_namespace": "{batch: {policy: threshold, max_delay_s: 3600}}",
                "holds.runtime_estimate_s": "60",
                "cap.enabled": "true",
                "cap.min_executors": "5",
                "cap.max_executors": "50",
                "cap.executor_cores": "1.5",
                "scoring.carbon_weight": "2",
            },
        )
        .to_policy()
        .carbon
    )
    assert policy.flexibility("batch", INFLEXIBLE) == Flexibility(HoldPolicy.THRESHOLD, None, 3600.0, 60.0)
    assert policy.flexibility("other", INFLEXIBLE).policy is HoldPolicy.NONE
    assert policy.cap == CapPolicy(True, 5, 50, 1500)
    assert policy.carbon_weight == 2.0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"carbon.url": "carbon:8430"}, ["carbon.url", "http://"]),
        ({"carbon.url": "http://"}, ["carbon.url", "http://"]),
        ({"accounting.prometheus_url": "ftp://x"}, ["accounting.prometheus_url", "http://"]),
        ({"holds.policy": "green"}, ["holds.policy", "suspend-resume"]),
        ({"holds.by_namespace": "{a: {polici: cap}}"}, ["holds.by_namespace.a.polici"]),
        ({"scoring.carbon_weight": "-1"}, ["scoring.carbon_weight"]),
        ({"cap.max_executors": "3"}, ["max_executors is below min_executors"]),
        ({"accounting.pue": "0.5"}, ["accounting.pue"]),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(flags: dict[str, str], words: list[str]):
    with pytest.raises(SettingsError) as refusal:
        load(None, flags)
    assert all(word in str(refusal.value) for word in words)


def test_passwords_in_urls_are_not_shown():
    settings = load(
        None, {"accounting.ledger": "postgresql://me:secret@db/books", "carbon.url": "http://a:b@c"}
    )
    shown = settings.redacted()
    assert shown["accounting"]["ledger"] == "postgresql://***@db/books"
    assert shown["carbon"]["url"] == "http://***@c"
