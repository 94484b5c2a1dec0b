"""Executor pod templates: sidecars, what Spark keeps, where executors may run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark import SpecReader
from extender.adapters.spark.yamltext import YamlProblem, parse_yaml
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.nodes.terms import NodeTerm, Requirement, Toleration
from tests.spark.support import MIB, config_map, leader, read_conf, refusal, spec

TEMPLATE = """
spec:
  nodeSelector: {pool: spark, spare: true}
  tolerations:
  - {key: spot, operator: Exists, effect: NoSchedule}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions:
          - {key: zone, operator: In, values: [a, b]}
  containers:
  - name: logs
    resources: {requests: {cpu: 100m, memory: 128Mi}}
  - name: spark
    resources:
      requests: {cpu: 7, memory: 9Gi, ephemeral-storage: 20Gi}
      limits: {cpu: 9, example.com/fpga: 1}
  initContainers:
  - name: fetch
    resources: {requests: {memory: 3Gi}}
  overhead: {memory: 10Mi}
"""
NAMED = {"spark.kubernetes.executor.podTemplateContainerName": "spark"}


def test_sidecars_and_what_spark_keeps_count() -> None:
    worker = dict(spec(read_conf(NAMED, template=TEMPLATE)).worker)
    assert worker == {
        "cpu": 1100,
        "memory": (3 * 1024 + 10) * MIB,  # the init container is larger than 1408 + 128
        "ephemeral-storage": 20 << 30,
        "example.com/fpga": 1,
    }


@pytest.mark.parametrize("name", ["", "no-such-container"])
def test_the_first_container_is_spark_s_when_none_is_named(name: str) -> None:
    conf = {"spark.kubernetes.executor.podTemplateContainerName": name, "spark.executor.memory": "8g"}
    worker = spec(read_conf(conf, template=TEMPLATE)).worker
    assert worker["cpu"] == 1000 + 7000
    assert worker["memory"] == (8192 + 819 + 9 * 1024 + 10) * MIB


def test_placement_comes_from_template_and_configuration() -> None:
    conf = {"spark.kubernetes.executor.node.selector.pool": "batch", "spark.kubernetes.node.selector.a": "b"}
    terms = spec(read_conf(conf, template=TEMPLATE)).worker_terms
    assert terms.node_selector == (("a", "b"), ("pool", "batch"), ("spare", "true"))
    assert terms.tolerations == (Toleration("spot", "Exists", "", "NoSchedule"),)
    assert terms.affinity == (NodeTerm((Requirement("zone", "In", ("a", "b")),)),)


def test_annotated_sizes_are_whole_pods() -> None:
    annotations = {"carbon-scheduler/executor-memory": "20Gi"}
    worker = spec(read_conf(NAMED, annotations, TEMPLATE)).worker
    assert worker["memory"] == 20 << 30
    assert worker["cpu"] == 1100


@pytest.mark.parametrize("text", ["spec:", "{}", "spec: {containers: []}", "spec:\n  containers:\n"])
def test_an_empty_template_changes_nothing(text: str) -> None:
    assert dict(spec(read_conf(template=text)).worker) == {"cpu": 1000, "memory": 1408 * MIB}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "[1, 2]",
        "spec: [",
        "spec: {containers: {}}",
        "spec: {containers: [null]}",
        "spec: {nodeSelector: [pool]}",
        "spec: {containers: [{resources: {requests: {cpu: many}}}, {resources: {requests: {cpu: many}}}]}",
        "spec: {}\n---\nspec: {}",
        "spec: {}\n---\n{}",
        "spec: {}\n---\n~",
        "spec: {nodeSelector: {a: b, a: c}}",
        "spec: *nowhere",
        "? [a]\n: b",
        "spec: \x00",
        "spec: " + "[" * 100_000,
        "\n".join(" " * depth + "a:" for depth in range(200)),
    ],
)
def test_an_unreadable_template_is_refused(text: str) -> None:
    text = refusal(read_conf(template=text))
    assert "podspec-configmap-key" in text


def test_a_config_map_without_a_template_is_refused() -> None:
    driver = leader(mounts="conf-map", template="template-map")
    assert "podspec-configmap-key is missing" in refusal(SpecReader().read(driver, config_map(), {}))


def test_aliases_are_followed_but_not_for_ever() -> None:
    assert parse_yaml("a: &x {b: c}\nd: *x") == {"a": {"b": "c"}, "d": {"b": "c"}}
    with pytest.raises(YamlProblem, match="aliases"):
        parse_yaml("a: &x {b: c}\nd: [" + ", ".join(["*x"] * 51) + "]")


def test_scalars_stay_text_and_only_plain_nulls_are_none() -> None:
    assert parse_yaml("a: '1.50'\nb: yes\nc: null\nd: ''\ne: 'null'\nf: !!int 3\ng: ~\nh:") == {
        "a": "1.50",
        "b": "yes",
        "c": None,
        "d": "",
        "e": "null",
        "f": "3",
        "g": "~",
        "h": None,
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.10", "1.1"),
        ("1.0", "1.0"),
        ("1.", "1.0"),
        ("1e3", "1000.0"),
        ("100000000.0", "1.0E8"),
        ("12345678.9", "1.23456789E7"),
        ("0.001", "0.001"),
        ("0.0001", "1.0E-4"),
        ("-0.0", "-0.0"),
        ("-0", "0"),
        ("-1.5", "-1.5"),
        ("1e400", "Infinity"),
        (".nan", "NaN"),
        ("123456789.123", "1.23456789123E8"),
        *((same, same) for same in ("1", "017", ".5", "+1.5", "1_000", "0x1F", "1:30", "2024-01-01", "NaN")),
    ],
)
def test_numbers_without_quotes_become_what_spark_s_client_makes_of_them(written: str, read: str) -> None:
    """What Spark's clients (3.5.9 and 4.3.0) answered for the same text."""
    text = f"spec:\n  nodeSelector:\n    version: {written}\n"
    assert spec(read_conf(template=text)).worker_terms.node_selector == (("version", read),)
    assert parse_yaml(f"{written}: x") == {read: "x"}


@pytest.mark.parametrize(
    "text",
    [
        "{pod}---\n",
        "# licence\n---\n# executor\n---\n{pod}",
        "---\n---\n{pod}",
        "{pod}---\nnull\n",
        "%YAML 1.1\n---\n{pod}...\n",
        "\n{pod}---\n# end\n",
    ],
)
def test_documents_without_content_are_left_out(text: str) -> None:
    template = text.replace("{pod}", "spec:\n  nodeSelector: {pool: spark}\n")
    assert spec(read_conf(template=template)).worker_terms.node_selector == (("pool", "spark"),)


def test_an_anchor_ends_with_its_document() -> None:
    assert "alias" in refusal(read_conf(template="# a\n---\n&x\n---\nspec: *x\n"))


@given(st.text() | st.text(st.sampled_from("ab:-{}[]&*!|>'\"%@#? \n\t,~"), max_size=60))
def test_no_template_raises(text: str) -> None:
    assert isinstance(read_conf(template=text), GangSpec | SpecProblem)
