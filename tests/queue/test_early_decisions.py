"""A node is named early only for what kube-scheduler then confirms; wrong names cost only time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.early import EarlyDecisions
from extender.core.events import (
    AnnotatePod,
    Instruction,
    NameNode,
    NodeSeen,
    PodGone,
    PodSeen,
    Synced,
)
from extender.core.facts import GangKey, PodFacts, Role
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.invariants import violations
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from extender.engine import Engine
from tests.gang.world import node, size, spec


class Reads:
    """Requests by the name of the leader."""

    def __init__(self) -> None:
        self.specs: dict[str, GangSpec | SpecProblem] = {}

    def read(
        self,
        leader: PodFacts,
        config_map: Mapping[str, str] | None,
        template: Mapping[str, str] | None = None,
    ) -> GangSpec | SpecProblem:
        return self.specs[leader.name]


class Cluster:
    """An engine that leads, three nodes of four cores, and what it was told to do."""

    def __init__(self, nodes: int = 3, **policy: Any) -> None:
        self.now = 1_000.0
        self.reads = Reads()
        self.engine = Engine(Policy(**policy), self.reads)
        self.names = [f"n{number}" for number in range(nodes)]
        for name in self.names:
            self.engine.observe(NodeSeen(node(name, 4)), self.now)
        self.engine.observe(Synced(), self.now)
        self.engine.store.leadership.caught_up(self.now)

    @property
    def early(self) -> EarlyDecisions:
        return self.engine.early

    def see(self, name: str, **fields: Any) -> tuple[PodFacts, list[Instruction]]:
        values: dict[str, Any] = {
            "uid": f"uid-{name}",
            "namespace": "ns",
            "name": name,
            "scheduler_name": "carbon-scheduler",
            "requests": size(),
            "created_s": self.now,
        }
        pod = PodFacts(**{**values, **fields})
        return pod, self.engine.observe(PodSeen(pod), self.now)

    def burst(self, number: int, **fields: Any) -> dict[str, str]:
        """Pods outside any gang; returns the nodes named, by pod."""
        out: dict[str, str] = {}
        for each in range(number):
            out |= named(self.see(f"single-{each}", **fields)[1])
        return out

    def filter(self, pod: PodFacts, names: list[str] | None = None) -> Any:
        return self.engine.filter(pod, Listed(self.names if names is None else names), self.now)

    def pod(self, name: str) -> PodFacts:
        return self.engine.store.state.pods[f"uid-{name}"]

    def admit(self, app: str, workers: int) -> PodFacts:
        """A gang whose leader runs."""
        key = GangKey("ns", app)
        self.reads.specs[f"{app}-driver"] = spec(workers)
        driver, _ = self.see(f"{app}-driver", role=Role.LEADER, gang=key)
        decision = self.filter(driver)
        assert decision.outcome is Outcome.ADMITTED
        bound = self.engine.bind(driver.uid, decision.node, self.now)
        assert not bound.error
        running = replace(driver, node=decision.node, phase="Running", annotations=dict(bound.annotations))
        self.engine.observe(PodSeen(running), self.now)
        return running


def named(instructions: list[Instruction]) -> dict[str, str]:
    return {each.name: each.node for each in instructions if isinstance(each, NameNode)}


def test_the_first_of_a_burst_are_left_alone_and_the_others_named() -> None:
    cluster = Cluster()
    nodes = cluster.burst(10)
    assert set(nodes) == {f"single-{number}" for number in range(4, 10)}
    for name, where in nodes.items():
        assert cluster.early.wanted(f"uid-{name}")
        decision = cluster.filter(cluster.pod(name), [where])
        assert (decision.outcome, decision.node) == (Outcome.SINGLE_PLACED, where)
        assert not cluster.early.wanted(f"uid-{name}")
    assert not violations(cluster.engine.store.state)


def test_no_more_are_named_than_there_is_room() -> None:
    cluster = Cluster(nodes=1)
    assert len(cluster.burst(12)) == 4


@pytest.mark.parametrize("why", ["setting", "standby", "gated", "preempts"])
def test_nothing_is_decided_early_where_it_must_not_be(why: str) -> None:
    cluster = Cluster(name_nodes=why != "setting")
    if why == "standby":
        cluster.engine.store.leadership.lost()
    fields: dict[str, Any] = {"gated": {"gated": True}, "preempts": {"nominated": "n0"}}.get(why, {})
    assert cluster.burst(10, **fields) == {}
    assert not cluster.engine.store.state.claims


def test_workers_are_named_by_their_reserved_slots_and_not_above_the_minimum() -> None:
    cluster = Cluster()
    cluster.admit("a", 6)
    nodes: dict[str, str] = {}
    for number in range(14):
        fields: dict[str, Any] = {"role": Role.WORKER, "gang": GangKey("ns", "a")}
        nodes |= named(cluster.see(f"a-exec-{number}", **fields)[1])
    assert len(nodes) == 6
    for name, where in nodes.items():
        assert cluster.filter(cluster.pod(name), [where]).outcome is Outcome.SLOT_TAKEN


def test_a_leader_waits_for_its_turn() -> None:
    cluster = Cluster()
    cluster.burst(5)
    cluster.reads.specs["a-driver"] = spec(1)
    _, instructions = cluster.see("a-driver", role=Role.LEADER, gang=GangKey("ns", "a"))
    assert named(instructions) == {}


def test_a_released_leader_is_named_before_it_is_woken() -> None:
    """Its room appears while it waits: status first, then what makes kube-scheduler try it."""
    cluster = Cluster(nodes=1)
    blocker, _ = cluster.see("blocker", requests=size(4))
    assert cluster.filter(blocker).node
    cluster.reads.specs["a-driver"] = spec(1)
    leader, _ = cluster.see("a-driver", role=Role.LEADER, gang=GangKey("ns", "a"))
    assert cluster.filter(leader).outcome is Outcome.NO_ROOM
    cluster.engine.observe(PodGone(blocker.uid), cluster.now)
    cluster.now += 4.9
    cluster.engine.store.leadership.caught_up(cluster.now)
    instructions: list[Instruction] = []
    while not instructions:
        cluster.now += 1
        cluster.engine.store.leadership.caught_up(cluster.now)
        instructions = cluster.engine.tick(cluster.now)
    naming, waking = instructions
    assert naming == NameNode(leader.uid, "ns", "a-driver", "n0")
    assert isinstance(waking, AnnotatePod)
    assert waking.wake
    assert cluster.filter(leader, ["n0"]).outcome is Outcome.ADMITTED


def test_a_name_that_kube_scheduler_cannot_use_costs_only_its_time() -> None:
    """Some filter of its own refuses the named node: it calls with the others, and the claim moves."""
    cluster = Cluster()
    name, where = next(iter(cluster.burst(6).items()))
    others = [each for each in cluster.names if each != where]
    decision = cluster.filter(cluster.pod(name), others)
    assert decision.outcome is Outcome.SINGLE_PLACED
    assert decision.node in others
    assert not violations(cluster.engine.store.state)


def test_a_decision_that_no_call_confirms_gives_its_room_back() -> None:
    cluster = Cluster(nodes=1, hold_ttl_s=60.0)
    assert len(cluster.burst(12)) == 4
    cluster.now += 61
    cluster.engine.tick(cluster.now)
    assert not cluster.engine.store.state.claims
    cluster.engine.store.leadership.caught_up(cluster.now)
    assert cluster.filter(cluster.see("late", requests=size(4))[0]).outcome is Outcome.SINGLE_PLACED


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    cluster = Cluster()
    cluster.burst(10)
    for number in range(10):
        cluster.engine.observe(PodGone(f"uid-single-{number}"), cluster.now)
    assert len(cluster.early) == 0
    assert not cluster.engine.store.state.claims


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 2)), max_size=25))
def test_named_or_not_every_pod_gets_room_that_exists(burst: list[tuple[int, bool, int]]) -> None:
    """Pods of any size, asked in any order, with their named node or with some of the others only."""
    cluster = Cluster()
    nodes: dict[str, str] = {}
    for number, (cores, _, _) in enumerate(burst):
        nodes |= named(cluster.see(f"single-{number}", requests=size(cores))[1])
    for number, (_, by_name, first) in enumerate(burst):
        name = f"single-{number}"
        offer = [nodes[name]] if by_name and name in nodes else cluster.names[first:]
        decision = cluster.filter(cluster.pod(name), offer)
        if by_name and name in nodes:
            assert decision.node == nodes[name]
        assert not violations(cluster.engine.store.state)
