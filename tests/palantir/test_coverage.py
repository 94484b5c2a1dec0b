"""Where each recorded defect and behaviour of the archived extender is tested, or why it is not.

Ids are those of docs/migrating-from-palantir.md (D) and of the behaviour reference it was made from: T are
the reference's own tests, P probes of it. A name ends at its parameters.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DEFECTS = "palantir/test_defects.py"
PATH = "palantir/test_request_path.py"
PROBES = "palantir/test_probes.py"

ELSEWHERE: dict[str, list[str]] = {
    "D2": ["gang/test_workers.py::test_extra_workers_use_free_room_only"],
    "D3": ["gang/test_workers.py::test_an_extra_worker_takes_the_place_of_a_lost_minimum_worker"],
    "D4": ["recovery/test_rebuild.py::test_workers_whose_leader_is_gone_are_used_room_and_nothing_else"],
    "D8": ["gang/test_members.py::test_a_second_leader_of_a_gang_gets_nothing_while_the_first_holds_it"],
    "D9": [
        "recovery/test_kill.py::test_after_a_kill_everything_goes_on",
        "cluster/test_binding.py::test_a_pod_is_bound_with_its_annotations_in_one_write",
    ],
    "D10": ["gang/test_workers.py::test_a_slot_moves_when_its_node_is_not_offered"],
    "D11": ["gang/test_members.py::test_equal_pod_names_in_two_namespaces_never_meet"],
    "D12": [
        "gang/test_constraints.py::test_workers_are_not_counted_where_they_cannot_run",
        "gang/test_admission.py::test_each_pod_takes_a_pod_place",
    ],
    "D13": ["nodes/test_rows.py::test_both_zone_labels_are_read_and_the_present_one_wins"],
    "D14": ["gang/test_workers.py::test_a_lost_worker_leaves_its_slot_to_the_next"],
    "D15": [
        "wire/test_filter.py::test_what_cannot_be_read_is_an_error_with_a_clear_text",
        "spark/test_refusals.py::test_palantir_annotations",
    ],
    "D16": ["packing/test_examples.py::test_zero_size_gang_is_placed_on_empty_nodes"],
    "D17": ["packing/test_examples.py::test_zones_are_compared_exactly"],
    "D18": ["cluster/test_reflector.py::test_an_expired_version_leads_to_a_new_list_with_its_difference"],
    "D19": ["gang/test_workers.py::test_extra_workers_count_against_the_maximum_wherever_their_slot_is"],
    "D21": ["queue/test_order.py::test_leaders_of_the_same_second_are_ordered_whoever_asks_first"],
    "D22": ["order/test_order.py::test_order", "packing/test_packers.py::test_row_numbers_do_not_matter"],
    "D23": [
        "cluster/test_patching.py::test_a_full_queue_takes_no_more_pods",
        "cluster/test_patching.py::test_failed_writes_are_repeated_with_growing_pauses",
    ],
    "D24": [
        "recovery/test_reservation_text.py::test_a_text_of_somebody_else_replaces_ours",
        "cluster/test_unreadable.py::test_an_event_older_than_the_list_is_ignored",
    ],
    "D25": ["queue/test_order.py::test_an_unreadable_request_blocks_nobody"],
    "D26": [
        "spark/test_annotations.py::test_palantir_sizes_without_overhead_are_raised_to_what_spark_will_request"
    ],
    "D27": ["packing/test_packers.py::test_refusing_costs_no_more_than_admitting"],
}
"""Tests of defects beside `test_dNN_...` in test_defects.py."""

BEHAVIOURS: dict[str, str] = {
    "T1": f"{PATH}::test_t01_a_static_application_is_placed",
    "T1b": f"{PATH}::test_t01b_one_executor_too_many_is_refused",
    "T1c": f"{PATH}::test_t01c_a_replacement_takes_the_slot",
    "T2": f"{PATH}::test_t02_extra_executors_join_their_own_application",
    "T3": f"{PATH}::test_t03_extra_executors_go_where_the_smallest_room_is",
    "T4": f"{PATH}::test_t04_the_minimum_has_a_slot",
    "T5": f"{PATH}::test_t05_what_is_above_it_has_none",
    "T6": f"{PATH}::test_t06_the_fuller_node_comes_first",
    "T7": f"{PATH}::test_t07_asking_again_adds_nothing",
    "T8": f"{PATH}::test_t08_after_a_loss_there_is_one_executor_in_the_slot_and_one_above",
    "T9": f"{PATH}::test_t09_extra_executors_stay_in_the_zone_of_the_driver",
    "T10": f"{PATH}::test_t10_t11_what_exceeds_the_cluster_is_told",
    "T11": f"{PATH}::test_t10_t11_what_exceeds_the_cluster_is_told",
    "T12": f"{PATH}::test_t12_devices_that_are_not_there_refuse_driver_and_executors",
    "T13": f"{PATH}::test_t13_a_slot_whose_pod_is_gone_is_found_after_a_restart",
    "T14": "spark/test_annotations.py::test_palantir_static_allocation",
    "T15": "spark/test_annotations.py::test_palantir_dynamic_allocation",
    "T16": "spark/test_annotations.py::test_palantir_without_gpu_keys",
    **{
        f"T{number}": f"{PATH}::test_t17_to_t20_only_earlier_drivers_are_waited_for"
        for number in range(17, 21)
    },
    **{f"T{number}": "order/test_order.py::test_order" for number in range(21, 25)},
    **{f"T{number}": "order/test_order.py::test_label_priority" for number in range(25, 28)},
    "T28": "cluster/test_patching.py::test_what_waits_for_one_pod_is_one_write_of_the_latest_values",
    "T29": "cluster/test_patching.py::test_submitted_annotations_are_written",
    "T31": "cluster/test_patching.py::test_a_full_queue_takes_no_more_pods",
    "T34": "cluster/test_unreadable.py::test_an_event_older_than_the_list_is_ignored",
    "T35": "nodes/test_rows.py::test_removing_what_is_not_there_changes_nothing",
    "T39": "packing/test_examples.py::test_share_is_of_the_fullest_resource",
    "T40": "packing/test_examples.py::test_resource_that_a_node_does_not_have_is_left_out",
    "T41": "packing/test_examples.py::test_resource_that_a_node_does_not_have_is_left_out",
    "T42": "packing/test_examples.py::test_room_in_one_resource",
    "T43": "packing/test_examples.py::test_room_is_that_of_the_scarcest_resource",
    "T44": "nodes/test_rows.py::test_vectors_from_before_a_column_still_count",
    "P1": f"{PROBES}::test_p01_the_later_one_does_not_overtake",
    "P2": f"{PROBES}::test_p02_an_earlier_one_that_waits_blocks_and_one_that_never_fits_does_not",
    "P3": f"{PROBES}::test_p03_of_the_same_second_one_is_earlier",
    "P4": f"{PROBES}::test_p04_an_earlier_one_below_the_age_limit_does_not_block",
    "P5": f"{PROBES}::test_p05_with_or_without_a_group_there_is_an_order",
    "P6": f"{PROBES}::test_p06_an_extra_executor_uses_what_is_free",
    "P7": f"{PROBES}::test_p07_on_a_node_without_reservation_too",
    "P8": f"{PROBES}::test_p08_an_earlier_one_that_holds_its_room_counts_once",
    "P9": f"{PROBES}::test_p09_an_executor_whose_node_is_not_offered_goes_elsewhere",
    "P10": f"{PROBES}::test_p10_a_reserved_driver_gets_a_node_that_is_offered",
    "P11": f"{PROBES}::test_p11_another_driver_of_the_same_id_waits",
    "P12": f"{PROBES}::test_p12_nodes_that_are_never_offered_hold_no_executors",
    "P13": f"{PROBES}::test_p13_one_zone_is_one_zone_by_either_label",
    "P14": f"{PROBES}::test_p14_a_finished_application_frees_its_node",
    "P15": f"{PROBES}::test_p15_a_finished_stranger_frees_its_node",
    "P16": f"{PROBES}::test_p16_an_evicted_executor_is_replaced_while_its_object_is_kept",
    "P17": f"{PROBES}::test_p17_a_static_slot_moves_to_where_there_is_room",
    "P18": f"{PROBES}::test_p18_the_zone_is_known_before_anything_runs",
    "P19": f"{PROBES}::test_p19_a_dynamic_application_is_rebuilt_from_its_pods",
    "P20": f"{PROBES}::test_p20_missing_executors_of_a_static_application_are_owed",
    "P21": f"{PROBES}::test_p21_executors_that_run_have_slots_wherever_they_run",
    "P22": f"{PROBES}::test_p22_a_cordoned_node_takes_nobody",
    "P23": f"{PROBES}::test_p23_a_late_request_for_a_dead_executor_takes_nothing",
    "P24": f"{PROBES}::test_p24_p27_an_extra_executor_takes_the_slot_and_its_accounts_stay_where_it_runs",
    "P25": f"{PROBES}::test_p25_executors_of_a_lost_driver_stop_nobody",
    "P26": f"{PROBES}::test_p26_a_refused_write_loses_nothing",
    "P27": f"{PROBES}::test_p24_p27_an_extra_executor_takes_the_slot_and_its_accounts_stay_where_it_runs",
    "P28": f"{PROBES}::test_p28_executors_outside_a_gang_are_placed_one_by_one",
    "P29": "spark/test_identify.py::test_half_of_the_labels_is_no_gang",
    "P30": f"{PROBES}::test_p30_an_application_of_zero_size_fits_for_every_packer",
}

NOT_OURS: dict[str, str] = {
    "T30": "we create and delete no objects, we only annotate: nothing to order",
    "T32": "no write-behind cache of objects: the reservation is read from the watch",
    "T33": "no write-behind cache of objects: the reservation is read from the watch",
    "T36": "no custom resource definition",
    "T37": "no Demand objects: refused pods stay pending, which is what autoscalers look at",
    "T38": "pod life-cycle gauges are not exported; the API shows the age of what waits",
    **{
        f"T{number}": "no custom resource, so no conversion between versions of it"
        for number in range(45, 51)
    },
}

ALL = (
    [f"D{number}" for number in range(1, 28)]
    + ["T1b", "T1c"]
    + [f"T{number}" for number in range(1, 51)]
    + [f"P{number}" for number in range(1, 31)]
)


def functions(path: str) -> list[str]:
    """Names of the test functions in a file under tests/."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return [
        item.name
        for item in tree.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test_")
    ]


def named() -> list[tuple[str, str]]:
    """Every id with every test that is named for it."""
    others = [(key, test) for key, tests in ELSEWHERE.items() for test in tests]
    return others + list(BEHAVIOURS.items())


@pytest.mark.parametrize("number", range(1, 28))
def test_every_defect_has_its_test(number: int) -> None:
    assert any(name.startswith(f"test_d{number:02}_") for name in functions(DEFECTS))


@pytest.mark.parametrize(("key", "test"), named(), ids=lambda value: str(value).split("::")[-1])
def test_what_is_named_exists(key: str, test: str) -> None:
    path, _, name = test.partition("::")
    assert name in functions(path), f"{key}: no {test}"


def test_nothing_is_left_out() -> None:
    defects = {f"D{number}" for number in range(1, 28)}
    assert set(ELSEWHERE) <= defects
    assert set(BEHAVIOURS) | set(NOT_OURS) | defects == set(ALL)
    assert not set(BEHAVIOURS) & set(NOT_OURS)
