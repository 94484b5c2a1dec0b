"""How large the ResourceQuota of CAP must be: what was promised can be created, whatever the budget is."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.quota import Share
from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.events import CarbonSeen
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.outcomes import Outcome
from extender.core.policy import CapPolicy, CarbonPolicy, Policy
from extender.core.store import Store
from extender.runtime.cap_quota import cap_quota, quota_share
from extender.settings.loading import load
from tests.gang.world import GIB, World, node, size

HOUR = 3600.0
EXECUTOR = Share(1000, GIB)


class Namespace:
    """The namespace `ns`: its pods, and the quota that counts them."""

    def __init__(self, budget: int, nodes: int = 4, cores: int = 64) -> None:
        cap = CapPolicy(enabled=True, min_executors=budget, max_executors=1000, hysteresis=0)
        self.world = World(Policy(carbon=CarbonPolicy(cap=cap)))
        labels = {"carbon-scheduler/carbon-zone": "DE"}
        self.world.add(*(node(f"n{number}", cores, 256, labels=labels) for number in range(nodes)))
        self.signal()

    def signal(self) -> None:
        """The dirtiest hour of all: the budget is its minimum."""
        now = self.world.now
        dirty = Signal(
            "DE", now, 500.0, forecast=(500.0, 100.0), forecast_start_s=now, lower=100.0, upper=500.0
        )
        self.world.do(self.world.store.apply(CarbonSeen(dirty), self.world.now))

    @property
    def used(self) -> Share:
        """What the API server counts: all pods that have not ended, wherever they wait."""
        pods = [pod for pod in self.world.pods.values() if pod.namespace == "ns" and not pod.finished]
        return Share(sum(pod.requests[CPU] for pod in pods), sum(pod.requests[MEMORY] for pod in pods))

    def quota(self, spare_drivers: int = 0) -> Share:
        """Its size now."""
        share = quota_share(self.world.store, "ns", EXECUTOR, spare_drivers, self.used, self.world.now)
        assert share is not None
        return share

    def gang(self, app: str, least: int, most: int | None = None, cores: int = 1, **more: object) -> None:
        """A gang is admitted and its driver runs; its workers are not created yet."""
        flexibility = more.pop("flexibility", INFLEXIBLE)
        assert isinstance(flexibility, Flexibility)
        spec = GangSpec(size(cores, cores), least, most or least, flexibility=flexibility)
        self.world.leader(app, spec, **more)
        assert self.world.schedule(f"{app}-driver").node

    def room(self) -> int:
        """Workers of one core that may be created now."""
        quota, used = self.quota(), self.used
        return min(
            (quota.cpu_milli - used.cpu_milli) // 1000, (quota.memory_bytes - used.memory_bytes) // GIB
        )


def test_of_an_idle_cluster_it_is_the_budget_and_room_for_drivers() -> None:
    assert Namespace(budget=7).quota(spare_drivers=3) == EXECUTOR.times(10)


def test_what_drivers_take_comes_on_top() -> None:
    namespace = Namespace(budget=7)
    namespace.gang("a", least=0, requests=size(5, 2))
    assert namespace.quota() == EXECUTOR.times(7).plus(Share(5000, 2 * GIB))


def test_a_minimum_above_the_budget_can_be_created() -> None:
    namespace = Namespace(budget=2)
    namespace.gang("a", least=6)
    assert namespace.room() == 6
    for number in range(6):
        namespace.world.worker("a", number)
        assert namespace.world.schedule(f"a-exec-{number}").node
    assert namespace.room() == 0, "but no more than that"


def test_several_gangs_above_the_budget_can_all_be_created() -> None:
    namespace = Namespace(budget=2)
    for app in "abc":
        namespace.gang(app, least=3)
    assert namespace.room() == 9


def test_what_runs_leaves_less_of_the_budget() -> None:
    namespace = Namespace(budget=8)
    namespace.gang("a", least=3)
    assert namespace.room() == 8
    for number in range(3):
        namespace.world.worker("a", number)
        assert namespace.world.schedule(f"a-exec-{number}").node
    assert namespace.room() == 5


def test_large_workers_count_with_their_own_size() -> None:
    namespace = Namespace(budget=2)
    namespace.gang("a", least=3, cores=8)
    assert namespace.quota() == Share(1000, GIB).plus(Share(8000, 8 * GIB).times(3))


def test_what_the_budget_leaves_suffices_for_the_largest_gang_that_may_grow() -> None:
    namespace = Namespace(budget=4)
    namespace.gang("a", least=3, most=9, cores=8)
    assert namespace.quota() == Share(1000, GIB).plus(Share(8000, 8 * GIB).times(4))


def test_workers_that_wait_for_the_budget_do_not_take_what_was_promised() -> None:
    namespace = Namespace(budget=2)
    namespace.gang("greedy", least=2, most=20)
    for number in range(2):
        namespace.world.worker("greedy", number)
        assert namespace.world.schedule(f"greedy-exec-{number}").node
    namespace.gang("late", least=4)
    for number in range(2, 6):  # created before the workers of `late`, in the room meant for them
        namespace.world.worker("greedy", number)
        assert namespace.world.filter(f"greedy-exec-{number}").outcome is Outcome.OVER_CARBON_BUDGET
    assert namespace.room() == 4
    for number in range(4):
        namespace.world.worker("late", number)
    assert namespace.room() <= 0


def test_pods_of_others_do_not_take_what_was_promised() -> None:
    namespace = Namespace(budget=2)
    namespace.gang("a", least=4)
    for number in range(9):
        namespace.world.foreign(f"f{number}", "n0")
    assert namespace.room() == 4


def test_a_lost_worker_can_be_replaced() -> None:
    namespace = Namespace(budget=2)
    namespace.gang("a", least=4)
    for number in range(4):
        namespace.world.worker("a", number)
        assert namespace.world.schedule(f"a-exec-{number}").node
    assert namespace.room() == 0
    namespace.world.delete("a-exec-1")
    assert namespace.room() == 1


@pytest.mark.parametrize(
    "flexibility", [Flexibility(HoldPolicy.NONE), Flexibility(HoldPolicy.CAP, max_delay_s=0.0)]
)
def test_a_gang_that_carbon_must_not_slow_down_can_create_all_it_asks_for(flexibility: Flexibility) -> None:
    namespace = Namespace(budget=2)
    namespace.gang("a", least=2, most=9, flexibility=flexibility)
    assert namespace.room() == 9


def test_past_its_latest_start_a_gang_can_create_all_it_asks_for() -> None:
    namespace = Namespace(budget=4)
    soon = Flexibility(HoldPolicy.CAP, deadline_s=namespace.world.now + 3 * HOUR, runtime_s=HOUR)
    namespace.gang("a", least=2, most=9, flexibility=soon)
    assert namespace.room() == 4
    namespace.world.now += 2 * HOUR
    namespace.signal()
    assert namespace.room() == 9 + 2, "and what the budget leaves to others"


def test_no_more_than_all_nodes_hold() -> None:
    namespace = Namespace(budget=2, nodes=2, cores=8)
    namespace.gang("a", least=2, most=100_000, flexibility=Flexibility(HoldPolicy.NONE))
    assert namespace.room() == 2 + 16


def test_what_many_unrestrained_gangs_ask_for_can_be_read_back() -> None:
    namespace = Namespace(budget=2, nodes=2, cores=8)
    worker = size(0, 1 << 10)
    for app in "abc":
        spec = GangSpec(worker, 0, 100_000, flexibility=Flexibility(HoldPolicy.NONE))
        namespace.world.leader(app, spec)
        assert namespace.world.schedule(f"{app}-driver").node
    used = Share(0, 1 << 60)
    share = quota_share(namespace.world.store, "ns", EXECUTOR, 0, used, namespace.world.now)
    assert share is not None
    assert Share.read(share.hard) == share


def test_other_namespaces_have_no_part_in_it_but_use_up_the_budget() -> None:
    namespace = Namespace(budget=8)
    namespace.gang("a", least=5, namespace="elsewhere")
    assert namespace.room() == 3


def test_without_a_signal_there_is_no_size() -> None:
    namespace = Namespace(budget=2)
    namespace.world.tick(24 * HOUR)
    assert quota_share(namespace.world.store, "ns", EXECUTOR, 1, Share(), namespace.world.now) is None


@given(data=st.data())
@settings(max_examples=60)
def test_what_is_promised_can_always_be_created(data: st.DataObject) -> None:
    """Whatever was created, in whatever order: the API server lets every promised worker in."""
    namespace = Namespace(data.draw(st.integers(1, 12), "budget"), nodes=2, cores=24)
    world = namespace.world
    apps = 0
    for step in range(data.draw(st.integers(1, 25), "steps")):
        action = data.draw(st.sampled_from(["submit", "create", "create", "lose", "foreign"]))
        gangs = [gang for gang in world.store.state.gangs.values() if gang.owner is not None]
        if action == "submit":
            least = data.draw(st.integers(0, 5))
            worker = size(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
            kind = data.draw(st.sampled_from([INFLEXIBLE, Flexibility(HoldPolicy.NONE)]))
            world.leader(f"app{apps}", GangSpec(worker, least, least + 4, flexibility=kind))
            world.schedule(f"app{apps}-driver")
            apps += 1
        elif action == "create" and gangs:
            gang = data.draw(st.sampled_from(gangs))
            assert gang.admission is not None
            requests, used, quota = gang.admission.spec.worker, namespace.used, namespace.quota()
            with_it = used.plus(Share.of(requests))
            if quota.at_least(with_it) == quota:
                world.worker(gang.key.app_id, step, requests=requests)
                world.schedule(f"{gang.key.app_id}-exec-{step}")
        elif action == "lose":
            workers = [pod.name for pod in world.pods.values() if "-exec-" in pod.name]
            if workers:
                world.delete(data.draw(st.sampled_from(workers)))
        elif action == "foreign":
            world.foreign(f"foreign{step}", "n0")
        needed = namespace.used
        for gang in world.store.state.gangs.values():
            if gang.admission is not None:
                waiting = sum(1 for pod in gang.workers.values() if pod.waiting)
                missing = sum(1 for slot in gang.slots if slot.open) - waiting
                needed = needed.plus(Share.of(gang.admission.spec.worker).times(max(0, missing)))
        quota = namespace.quota()
        assert needed == namespace.used or quota.at_least(needed) == quota


async def test_there_is_a_quota_only_with_cap_and_a_namespace() -> None:
    async with await ApiClient.anonymous("http://127.0.0.1:1") as api:
        for flags in ({}, {"cap.enabled": "true"}, {"cap.quota.namespace": "batch"}):
            assert cap_quota(load(None, flags), api, Store(), lambda: 0.0) is None
        both = load(None, {"cap.enabled": "true", "cap.quota.namespace": "batch"})
        assert cap_quota(both, api, Store(), lambda: 0.0) is not None
