"""Rows: added, changed, removed, recycled, without moving what is accounted on the others."""

from __future__ import annotations

import numpy as np

from extender.core.nodes.resources import BASE_COLUMNS, CPU, GPU, MEMORY, NOT_OFFERED, PODS
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import ANYWHERE
from tests.gang.world import GIB, node, size


def amount(table: NodeTable, array: str, name: str, resource: str = CPU) -> int:
    """One number of a table."""
    return int(getattr(table, array)[table.columns.index(resource), table.row_of[name]])


def test_a_node_is_what_it_offers() -> None:
    table = NodeTable()
    assert table.upsert(node("n1", 4, 8, pods=10, extra={GPU: 2}))
    assert [amount(table, "free", "n1", name) for name in (CPU, MEMORY, PODS, GPU)] == [4_000, 8 * GIB, 10, 2]
    assert len(table) == 1


def test_the_same_node_again_changes_nothing() -> None:
    table = NodeTable()
    table.upsert(node("n1"))
    versions = (table.version, table.capacity_epoch, table.rows_epoch)
    assert not table.upsert(node("n1"))
    assert (table.version, table.capacity_epoch, table.rows_epoch) == versions


def test_a_change_of_other_labels_counts_and_keeps_the_row() -> None:
    table = NodeTable()
    table.upsert(node("n1"))
    table.use(0, table.vector(size(3)))
    version = table.version
    assert table.upsert(node("n1", labels={"a": "b"}))
    assert table.version > version
    assert amount(table, "free", "n1") == 5_000


def test_a_node_that_shrinks_below_its_use_is_over_committed() -> None:
    table = NodeTable()
    table.upsert(node("n1", 8))
    table.use(0, table.vector(size(4)))
    table.reserve(0, table.vector(size(2)))
    assert table.overcommitted() == []
    table.upsert(node("n1", 5))
    assert table.overcommitted() == ["n1"]
    assert amount(table, "free", "n1") == -1_000


def test_a_node_that_is_gone_offers_nothing_and_keeps_its_accounts() -> None:
    table = NodeTable()
    table.upsert(node("n1", 8))
    table.use(0, table.vector(size(3)))
    table.remove("n1")
    assert len(table) == 0
    assert not table.alive(0)
    assert not table.eligible(ANYWHERE).any()
    assert table.overcommitted() == []
    assert amount(table, "used", "n1") == 3_000
    table.upsert(node("n1", 8))
    assert amount(table, "free", "n1") == 5_000


def test_removing_what_is_not_there_changes_nothing() -> None:
    table = NodeTable()
    table.upsert(node("n1"))
    table.remove("unheard-of")
    table.remove("n1")
    version = table.version
    table.remove("n1")
    assert (len(table), table.version) == (0, version)


def test_pods_may_be_accounted_before_their_node_is_seen() -> None:
    table = NodeTable()
    row = table.row("n1")
    table.use(row, table.vector(size(3)))
    assert len(table) == 0
    table.upsert(node("n1", 8))
    assert table.row_of["n1"] == row
    assert amount(table, "free", "n1") == 5_000


def test_rows_of_nodes_that_are_gone_are_used_again() -> None:
    """A cluster that renews its nodes for ever does not grow for ever."""
    table = NodeTable()
    for generation in range(30):
        for number in range(20):
            table.upsert(node(f"g{generation}-{number}", 4))
        if generation:
            for number in range(20):
                table.remove(f"g{generation - 1}-{number}")
    assert len(table) == 20
    assert len(table.names) < 150
    assert len(table.row_of) == len(table.names)
    assert table.eligible(ANYWHERE).sum() == 20
    assert table.rooms(table.vector(size(1)), ANYWHERE)[1] == 80


def test_a_row_with_accounts_is_not_used_again() -> None:
    table = NodeTable()
    for number in range(200):
        table.upsert(node(f"n{number}", 4))
    table.use(table.row_of["n7"], table.vector(size(1)))
    table.reserve(table.row_of["n8"], table.vector(size(1)))
    for number in range(200):
        table.remove(f"n{number}")
    for number in range(250):
        table.upsert(node(f"m{number}", 4))
    assert amount(table, "used", "n7") == 1_000
    assert amount(table, "reserved", "n8") == 1_000
    assert all(amount(table, "free", f"m{number}") == 4_000 for number in range(250))
    assert len(table) == 250


def test_a_recycled_row_has_nothing_of_the_node_before() -> None:
    table = NodeTable()
    for number in range(80):
        table.upsert(node(f"n{number}", 4, zone="old", extra={"example.com/x": 7}, labels={"a": "b"}))
    for number in range(80):
        table.remove(f"n{number}")
    for number in range(80):
        table.upsert(node(f"m{number}", 2))
    assert {table.zones[zone] for zone in table.zone[table.eligible(ANYWHERE)].tolist()} == {"default"}
    assert sum(amount(table, "free", f"m{number}", "example.com/x") for number in range(80)) == 0


# -- columns ------------------------------------------------------------------------------------


def test_a_resource_gets_its_column_when_it_is_first_seen() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4))
    before = table.vector(size(1))
    table.upsert(node("n2", 4, extra={"example.com/x": 3}))
    assert table.columns[-1] == "example.com/x"
    assert amount(table, "free", "n1", "example.com/x") == 0
    assert amount(table, "free", "n2", "example.com/x") == 3
    table.use(0, before)
    assert amount(table, "used", "n1") == 1_000


def test_vectors_from_before_a_column_still_count() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4))
    old = table.vector(size(2))
    table.reserve(0, old)
    table.vector(size(0, 0, **{"example.com/x": 1}))
    table.turn_reserved_into_used(0, old, old)
    table.use(0, old, -1)
    assert not table.used.any()
    assert not table.reserved.any()


def test_rows_may_be_added_after_columns_and_columns_after_rows() -> None:
    table = NodeTable()
    for number in range(150):
        table.upsert(node(f"n{number}", number + 1, extra={f"example.com/{number % 5}": 1}))
    assert len(table.columns) == len(BASE_COLUMNS) + 5
    for number in range(150):
        assert amount(table, "free", f"n{number}") == (number + 1) * 1_000
        assert amount(table, "free", f"n{number}", f"example.com/{number % 5}") == 1
    for array in (table.allocatable, table.used, table.reserved, table.free):
        assert array.shape == (len(BASE_COLUMNS) + 5, 150)


def test_nobody_fits_where_a_requested_resource_is_not_offered() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4))
    wanted = size(1, 1, **{"example.com/x": 1})
    assert table.rooms(table.vector(wanted), ANYWHERE)[1] == 0
    assert table.not_offered(wanted) == ["example.com/x"]


def test_what_pods_request_adds_no_column() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4))
    for number in range(1_000):
        wanted = size(1, 1, **{f"r{number}.example.com/x": 1})
        table.vector(wanted)
        table.use(0, table.accountable(wanted))
    assert table.columns == list(BASE_COLUMNS)
    assert amount(table, "used", "n1") == 1_000_000
    assert amount(table, "free", "n1", NOT_OFFERED) == 0


def test_a_column_that_no_node_offers_any_more_is_given_back() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4, extra={"example.com/a": 1}))
    row, pod = table.row_of["n1"], size(1, 1, **{"example.com/a": 1})
    table.use(row, table.accountable(pod))
    table.remove("n1")
    table.upsert(node("n2", 4, extra={"example.com/b": 1}))
    assert table.columns[-2:] == ["example.com/a", "example.com/b"], "a pod still uses the first one"
    table.use(row, table.accountable(pod), -1)
    table.upsert(node("n3", 4, extra={"example.com/c": 2}))
    assert table.columns[-2:] == ["example.com/c", "example.com/b"]
    assert table.rooms(table.vector(size(1, 1, **{"example.com/c": 1})), ANYWHERE)[1] == 2
    assert table.rooms(table.vector(size(1, 1, **{"example.com/b": 1})), ANYWHERE)[1] == 1
    assert table.rooms(table.vector(pod), ANYWHERE)[1] == 0


def test_a_node_that_offers_many_resources_widens_the_table_once() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4, extra={f"example.com/{number}": 1 for number in range(400)}))
    assert table.columns_epoch == 1
    assert len(table.columns) == len(BASE_COLUMNS) + 400


# -- names ------------------------------------------------------------------------------------


def test_a_mask_is_of_the_names_that_exist() -> None:
    table = NodeTable()
    for number in range(3):
        table.upsert(node(f"n{number}"))
    table.remove("n1")
    assert table.mask(["n2", "unheard-of", "n2", "n1", ""]).tolist() == [False, False, True]
    assert table.mask([]).tolist() == [False, False, False]
    assert NodeTable().mask(["n1"]).tolist() == []


def test_an_unknown_name_is_not_the_last_node() -> None:
    table = NodeTable()
    table.upsert(node("n1"))
    assert not table.mask(["unheard-of"]).any()


def test_rows_are_in_the_order_of_the_names() -> None:
    table = NodeTable()
    for number in range(3):
        table.upsert(node(f"n{number}"))
    assert table.rows(["n2", "unheard-of", "n0", "n2"]).tolist() == [2, -1, 0, 2]


# -- zones and labels ---------------------------------------------------------------------------


def test_both_zone_labels_are_read_and_the_present_one_wins() -> None:  # D13
    table = NodeTable()
    beta = "failure-domain.beta.kubernetes.io/zone"
    table.upsert(node("new", zone="a"))
    table.upsert(node("old", labels={beta: "a"}))
    table.upsert(node("both", zone="a", labels={beta: "b"}))
    table.upsert(node("none"))
    zones = [table.zones[zone] for zone in table.zone.tolist()]
    assert zones == ["a", "a", "a", "default"]


def test_a_node_may_change_its_zone() -> None:
    table = NodeTable()
    table.upsert(node("n1", zone="a"))
    table.upsert(node("n1", zone="b"))
    assert table.zones[table.zone[0]] == "b"


def test_label_ranks_put_unknown_values_last() -> None:
    table = NodeTable()
    for name, value in (("n1", "good"), ("n2", "best"), ("n3", "odd")):
        table.upsert(node(name, labels={"q": value}))
    table.upsert(node("n4"))
    ranks = table.label_ranks("q", ("best", "good"))
    assert ranks.tolist() == [1, 0, 2, 2]
    table.upsert(node("n3", labels={"q": "best"}))
    assert table.label_ranks("q", ("best", "good")).tolist() == [1, 0, 0, 2]


def test_order_is_fullest_first_then_name() -> None:
    table = NodeTable()
    for name, cpu, memory in (("c", 2, 2), ("b", 2, 2), ("a", 9, 2), ("d", 9, 1)):
        table.upsert(node(name, cpu, memory))
    assert [table.names[row] for row in table.order()] == ["d", "b", "c", "a"]
    table.use(table.row_of["a"], table.vector(size(0, 2)))
    assert [table.names[row] for row in table.order()] == ["a", "d", "b", "c"]


def test_turning_held_into_used_frees_nothing() -> None:
    table = NodeTable()
    table.upsert(node("n1", 8))
    held, used = table.vector(size(3)), table.vector(size(2))
    table.reserve(0, held)
    version, free = table.version, table.free.copy()
    table.turn_reserved_into_used(0, held, held)
    assert table.version == version
    assert np.array_equal(table.free, free)
    table.reserve(0, held)
    table.turn_reserved_into_used(0, held, used)
    assert amount(table, "free", "n1") == 8_000 - 3_000 - 2_000
    assert table.version > version
