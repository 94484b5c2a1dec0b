"""Average and marginal intensities are never compared: one kind is used, zones of the other are neutral."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from extender.core.carbon.signal import CarbonBook, Kind, Signal
from extender.core.events import CarbonSeen
from extender.core.policy import CapPolicy, CarbonPolicy, Policy
from extender.core.queries import budget
from tests.gang.world import World, node


def forecast(zone: str, at_s: float, grams: float, kind: str = Kind.AVERAGE) -> Signal:
    return Signal(zone, at_s, grams, kind=kind, forecast=(grams, grams / 2), forecast_start_s=at_s)


def test_a_zone_of_the_other_kind_is_neutral_and_says_why() -> None:
    book = CarbonBook(3600.0)
    assert book.see(forecast("DE", 0.0, 500.0, Kind.MARGINAL))
    assert book.value("DE", 0.0) is None
    assert book.outlook("DE", 0.0) is None
    assert "marginal" in book.signals["DE"].reason


def test_the_last_good_value_stays_when_a_source_changes_its_kind() -> None:
    book = CarbonBook(3600.0)
    book.see(forecast("DE", 0.0, 300.0))
    book.see(forecast("DE", 10.0, 900.0, Kind.MARGINAL))
    assert book.value("DE", 10.0) == 300.0
    assert book.value("DE", 3601.0) is None


def test_neither_nodes_nor_the_budget_compare_kinds() -> None:
    carbon = CarbonPolicy(
        carbon_weight=1.0,
        zone_by_place={"a": "average", "b": "marginal"},
        cap=CapPolicy(enabled=True, min_executors=1, max_executors=10),
    )
    world = World(Policy(carbon=carbon))
    world.add(node("n-a", 8, zone="a"), node("n-b", 8, zone="b"))
    world.store.apply(CarbonSeen(forecast("average", world.now, 300.0)), world.now)
    world.store.apply(CarbonSeen(forecast("marginal", world.now, 900.0, Kind.MARGINAL)), world.now)
    assert world.store.state.intensities == {"average": 300.0, "marginal": None}
    assert budget(world.store) is None, "a mean over both kinds would mean nothing"
    cost = world.store.state.nodes.cost
    assert cost is not None
    assert len(set(cost().tolist())) == 1, "an unknown zone is neither better nor worse"


signals = st.builds(
    forecast,
    st.sampled_from(["DE", "ES"]),
    st.floats(0, 1e4),
    st.floats(0, 4000),
    st.sampled_from([*Kind, "other"]),
)


@given(st.sampled_from(Kind), st.lists(signals, max_size=12))
def test_every_value_is_of_the_kind_in_use(kind: Kind, seen: list[Signal]) -> None:
    book = CarbonBook(1e9, kind)
    for signal in seen:
        book.see(signal)
    assert {each.kind for each in book.good.values()} <= {kind}
    assert {each.kind for each in book.signals.values() if each.g_per_kwh is not None} <= {kind}
