"""Decima in NumPy: against an oracle one stage at a time, and against the published checkpoint if present."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from typer.testing import CliRunner

from extender.cli import app as cli
from extender.core.facts import GangKey
from extender.core.stages.decima import Decima, Observer
from extender.core.stages.decima_network import Observation, infer, schedule
from extender.core.stages.decima_weights import CHECKPOINT_BYTES, DecimaWeights, Layers, WeightsUnusable
from extender.core.stages.events import JobStarted, StageCompleted, StageInfo, StageSubmitted
from extender.core.stages.importance import Application
from extender.core.stages.store import StageStore
from extender.settings.loading import SettingsError, load
from tests.cases import data_path


def some_weights(seed: int) -> DecimaWeights:
    """A checkpoint's data file of small random numbers, read by the converter."""
    values = np.random.default_rng(seed).normal(0, 0.4, CHECKPOINT_BYTES // 4).astype("<f4")
    return DecimaWeights.from_checkpoint(values.tobytes())


def observed(
    stages: Sequence[Sequence[float]],
    jobs: Sequence[Sequence[float]],
    job_of: Sequence[int],
    edges: Sequence[tuple[int, int]],
    valid: Sequence[bool],
    limit_from: Sequence[int],
    finished: Sequence[bool] = (),
) -> Observation:
    return Observation(
        np.array(stages, np.float32),
        np.array(jobs, np.float32),
        np.array(job_of, np.int64),
        list(edges),
        np.array(finished or [False] * len(stages), bool),
        np.array(valid, bool),
        np.array(limit_from, np.int64),
    )


GOLDEN = observed(
    [[0.5, 2, 0.25, 0.12, 0.05], [0.5, 2, 0.25, 0.30, 0.10], [0.5, 2, 0.25, 0.02, 0.005]],
    [[0.5, 2, 0.25]],
    [0, 0, 0],
    [(0, 2), (1, 2)],
    [True, True, False],
    [6],
)


def test_both_parents_hear_their_only_child() -> None:
    assert schedule(3, [(0, 2), (1, 2)]) == [[0, 1]]


def test_a_stage_is_heard_again_when_a_longer_way_is_found() -> None:
    """0 -> 1 -> 2 and 0 -> 2: stage 0 waits until all its children are current at once."""
    assert schedule(3, [(0, 1), (1, 2), (0, 2)]) == [[1], [0]]
    assert schedule(4, [(0, 1), (1, 2), (2, 3)]) == [[2], [1], [0]]
    assert schedule(0, []) == schedule(2, []) == []


def test_no_more_than_eight_steps() -> None:
    assert len(schedule(30, [(n, n + 1) for n in range(29)])) == 8


# -- an oracle: one vector at a time, float64, no arrays of stages --------------------------------


def _mlp(layers: Layers, value: NDArray[np.float64], *, linear_end: bool = False) -> NDArray[np.float64]:
    for number, (weights, biases) in enumerate(layers):
        value = np.array(
            [
                sum(value[i] * float(weights[i, o]) for i in range(len(value))) + float(biases[o])
                for o in range(len(biases))
            ]
        )
        if number + 1 < len(layers) or not linear_end:
            value = np.array([x if x > 0 else 0.2 * x for x in value])
    return value


def oracle(weights: DecimaWeights, seen: Observation, levels: int) -> tuple[list[float], list[list[float]]]:
    blocks, stages = weights.blocks, range(len(seen.stages))
    raw = [seen.stages[n].astype(np.float64) for n in stages]
    values = [_mlp(blocks["prepare"], raw[n]) for n in stages]
    for updated in schedule(len(values), seen.edges):
        before = list(values)
        for parent in updated:
            heard = [_mlp(blocks["process"], before[c]) for p, c in seen.edges if p == parent]
            values[parent] = before[parent] + _mlp(blocks["aggregate"], np.sum(heard, axis=0))
    jobs = [np.zeros(8) for _ in seen.jobs]
    for n in stages:
        if not seen.finished[n]:
            jobs[seen.job_of[n]] = jobs[seen.job_of[n]] + _mlp(
                blocks["job"], np.concatenate([raw[n], values[n]])
            )
    everything = np.sum([_mlp(blocks["all_jobs"], job) for job in jobs], axis=0)
    powers = [
        float(
            np.exp(
                _mlp(
                    blocks["stage_head"],
                    np.concatenate([raw[n], values[n], jobs[seen.job_of[n]], everything]),
                    linear_end=True,
                )[0]
            )
        )
        * bool(seen.valid[n])
        for n in stages
    ]
    limits: list[list[float]] = []
    for number, job in enumerate(jobs):
        row = [
            float(
                np.exp(
                    _mlp(
                        blocks["limit_head"],
                        np.concatenate([seen.jobs[number], job, everything, [level / 50]]),
                        linear_end=True,
                    )[0]
                )
            )
            * bool(level >= seen.limit_from[number])
            for level in range(1, levels + 1)
        ]
        limits.append([each / (sum(row) or 1.0) for each in row])
    return [each / (sum(powers) or 1.0) for each in powers], limits


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    jobs = draw(st.integers(1, 3))
    job_of = sorted(draw(st.lists(st.integers(0, jobs - 1), min_size=1, max_size=7)))
    pairs = [(a, b) for b in range(len(job_of)) for a in range(b) if job_of[a] == job_of[b]]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    number = st.floats(-1, 1, width=32)
    flags = st.lists(st.booleans(), min_size=len(job_of), max_size=len(job_of))
    return observed(
        draw(st.lists(st.lists(number, min_size=5, max_size=5), min_size=len(job_of), max_size=len(job_of))),
        draw(st.lists(st.lists(number, min_size=3, max_size=3), min_size=jobs, max_size=jobs)),
        job_of,
        edges,
        draw(flags),
        draw(st.lists(st.integers(1, 6), min_size=jobs, max_size=jobs)),
        draw(flags),
    )


@settings(max_examples=25)
@given(observations(), st.integers(0, 5))
def test_network_equals_the_oracle(seen: Observation, seed: int) -> None:
    weights = some_weights(seed)
    inference = infer(weights, seen, levels=5)
    stages, limits = oracle(weights, seen, levels=5)
    assert inference.stages == pytest.approx(np.array(stages), abs=2e-4)
    assert inference.limits == pytest.approx(np.array(limits), abs=2e-4)


@pytest.mark.parametrize(
    ("epoch", "stages", "limits"),
    [
        (
            10_000,
            (0.50105, 0.49895, 0.0),
            {6: 0.05962, 7: 0.06059, 8: 0.06157, 9: 0.06257, 10: 0.06359, 11: 0.06462, 12: 0.06567,
             13: 0.06674, 14: 0.06782, 15: 0.06892, 16: 0.07004, 17: 0.07118, 18: 0.07201,
             19: 0.07236, 20: 0.07271},
        ),
        (20_000, (0.31956, 0.68044, 0.0), {17: 0.00016, 18: 0.00344, 19: 0.07635, 20: 0.92005}),
    ],
)  # fmt: skip
def test_published_checkpoint(epoch: int, stages: tuple[float, ...], limits: dict[int, float]) -> None:
    inference = infer(published(epoch), GOLDEN, levels=20)
    assert inference.stages == pytest.approx(np.array(stages), abs=6e-6)
    assert inference.limits[0, :5].tolist() == [0.0] * 5
    for level, value in limits.items():
        assert inference.limits[0, level - 1] == pytest.approx(value, abs=6e-6)


def published(epoch: int) -> DecimaWeights:
    """The weights of the authors, as `carbon-scheduler decima-weights` converts them."""
    return DecimaWeights.from_npz(data_path(f"decima/decima_ep_{epoch}.npz").read_bytes())


@pytest.mark.parametrize("epoch", [10_000, 20_000])
def test_the_authors_network_answers_the_same(epoch: int) -> None:
    weights = published(epoch)
    recorded = json.loads(data_path(f"decima/golden_ep_{epoch}.json").read_text())
    tolerance = recorded["tolerance"]
    assert len(recorded["states"]) == 24
    for state in recorded["states"]:
        seen = observed(
            state["stages"],
            state["jobs"],
            state["job_of"],
            [(parent, child) for parent, child in state["edges"]],
            state["valid"],
            state["limit_from"],
            state["finished"],
        )
        inference = infer(weights, seen, levels=state["executor_levels"])
        expected = np.array(state["expected_stage_probabilities"])
        assert inference.stages == pytest.approx(expected, abs=tolerance["stage"])
        for number, row in enumerate(state["expected_limit_probabilities"]):
            if row is not None:  # a job without a valid limit has none
                assert inference.limits[number] == pytest.approx(np.array(row), abs=tolerance["limit"])


# -- weights -----------------------------------------------------------------------------------


def test_converter_reads_each_array_from_its_own_bytes() -> None:
    """Every float of the file is its own index: no array overlaps another, and none leaves the file."""
    positions = np.arange(CHECKPOINT_BYTES // 4, dtype="<f4")
    arrays = DecimaWeights.from_checkpoint(positions.tobytes()).arrays()
    everything = np.concatenate([array.ravel() for array in arrays.values()])
    assert len(arrays) == 46
    assert len(np.unique(everything)) == len(everything)
    assert arrays["prepare.0.w"][1, 0] == 16
    assert arrays["prepare.0.b"][0] == 61160 / 4
    assert arrays["stage_head.3.b"].tolist() == [34080 / 4]
    assert arrays["limit_head.0.w"].shape == (20, 32)


def test_converter_as_a_command(tmp_path: Path) -> None:
    """What it writes is what the settings read."""
    checkpoint, npz = tmp_path / "model_ep_1.data-00000-of-00001", tmp_path / "decima.npz"
    checkpoint.write_bytes(np.linspace(-1, 1, CHECKPOINT_BYTES // 4, dtype="<f4").tobytes())
    result = CliRunner().invoke(cli, ["decima-weights", str(checkpoint), str(npz)])
    assert result.exit_code == 0, result.output
    provider = load(
        None, {"stages.importance": "decima", "stages.decima_weights": str(npz)}
    ).stages.to_provider()
    assert isinstance(provider, Decima)
    checkpoint.write_bytes(b"short")
    result = CliRunner().invoke(cli, ["decima-weights", str(checkpoint), str(npz)])
    assert result.exit_code == 2
    assert "data-00000-of-00001" in result.output


def test_settings_ask_for_weights_and_provider_together(tmp_path: Path) -> None:
    missing = str(tmp_path / "decima.npz")
    for flags in ({"stages.importance": "decima"}, {"stages.decima_weights": missing}):
        with pytest.raises(SettingsError, match="belong together"):
            load(None, flags)
    with pytest.raises(ValueError, match=r"decima\.npz: No such file"):
        load(None, {"stages.importance": "decima", "stages.decima_weights": missing}).stages.to_provider()


def test_weights_survive_an_npz() -> None:
    weights = some_weights(1)
    again = DecimaWeights.from_npz(weights.to_npz())
    assert all((array == again.arrays()[name]).all() for name, array in weights.arrays().items())


def test_unusable_weights_say_why() -> None:
    arrays = dict(some_weights(1).arrays())
    with pytest.raises(WeightsUnusable, match="data-00000-of-00001"):
        DecimaWeights.from_checkpoint(b"short")
    with pytest.raises(WeightsUnusable, match=r"not an \.npz"):
        DecimaWeights.from_npz(b"PK\x03\x04 broken")
    with pytest.raises(WeightsUnusable, match=r"job\.0\.w is missing"):
        DecimaWeights.from_arrays({name: array for name, array in arrays.items() if name != "job.0.w"})
    with pytest.raises(WeightsUnusable, match=r"must be float32\(16,\)"):
        DecimaWeights.from_arrays(arrays | {"process.0.b": np.zeros(3, np.float32)})
    with pytest.raises(WeightsUnusable, match="not finite"):
        DecimaWeights.from_arrays(arrays | {"process.0.b": np.full(16, np.nan, np.float32)})


# -- importance --------------------------------------------------------------------------------


def app(number: int) -> GangKey:
    return GangKey("spark", f"app-{number}")


DIAMOND = (
    StageInfo(0, 10, 4),
    StageInfo(1, 20, 8, 0, (0,)),
    StageInfo(2, 30, 2, 0, (0,)),
    StageInfo(3, 40, 1, 0, (1, 2)),
)


def test_the_likeliest_stage_of_all_applications_has_importance_one() -> None:
    store = StageStore(Decima(some_weights(3), most_executors=20))
    for number in range(3):
        store.apply(
            app(number), [JobStarted(0, DIAMOND), StageSubmitted(DIAMOND[0]), StageCompleted(DIAMOND[0])]
        )
        store.set_width(app(number), number, number)
    store.widen()
    assert not store.priorities(app(0)).ready, "one look serves many batches"
    store.catch_up()
    ready = [stage.importance for number in range(3) for stage in store.priorities(app(number)).ready]
    assert len(ready) == 6
    assert max(ready) == 1.0
    assert min(ready) > 0.0
    assert all(store.importance(app(number), 3) == 0.0 for number in range(3)), "it waits for its parents"


def test_features_are_those_the_policy_was_trained_on() -> None:
    application = Application(executors=10, offered=5)
    application.graph.apply([JobStarted(0, DIAMOND), StageSubmitted(DIAMOND[0]), StageCompleted(DIAMOND[0])])
    names, seen = Observer()({app(0): application})
    assert [stage for _, stage in names] == [20, 30, 40], "a finished stage changes nothing"
    assert seen.jobs.tolist() == [[0.5, -2.0, 0.25]]
    assert seen.stages[0] == pytest.approx(np.array([0.5, -2.0, 0.25, 0.08, 0.04]))
    assert (seen.finished.tolist(), seen.valid.tolist()) == ([False] * 3, [True, True, False])
    assert sorted(seen.edges) == [(0, 2), (1, 2)]
    assert seen.limit_from.tolist() == [11]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[StageInfo, ...]:
    """Stages of a job; those of lower number come first."""
    return tuple(
        StageInfo(
            n, n, draw(st.integers(1, 9)), 0, tuple(sorted(draw(st.sets(st.integers(0, n - 1))))) if n else ()
        )
        for n in range(draw(st.integers(1, 7)))
    )


def given_jobs(jobs: Sequence[Sequence[StageInfo]]) -> dict[GangKey, Application]:
    applications = {app(number): Application(executors=number) for number in range(len(jobs))}
    for job, application in zip(jobs, applications.values(), strict=True):
        application.graph.apply([JobStarted(0, tuple(job))])
    return applications


def without(job: Sequence[StageInfo], done: int) -> list[StageInfo]:
    """The job as if its first stages had never been."""
    return [
        replace(stage, parents=tuple(parent for parent in stage.parents if parent >= done))
        for stage in job[done:]
    ]


@settings(max_examples=50)
@given(st.lists(graphs(), min_size=1, max_size=3), st.data())
def test_the_order_of_messages_is_kept_and_finished_stages_change_nothing(
    jobs: list[tuple[StageInfo, ...]], data: st.DataObject
) -> None:
    weights, observer, applications = some_weights(4), Observer(), given_jobs(jobs)
    ended = [data.draw(st.integers(0, len(job) - 1)) for job in jobs]
    observer(applications)
    for job, done, application in zip(jobs, ended, applications.values(), strict=True):
        for stage in job[:done]:
            application.graph.apply([StageSubmitted(stage), StageCompleted(stage)])
    observer(applications)
    _, seen = observer(applications)
    chances = infer(weights, seen, 0).stages
    assert chances == pytest.approx(infer(weights, replace(seen, steps=None), 0).stages)
    rest = given_jobs([without(job, done) for job, done in zip(jobs, ended, strict=True)])
    assert chances == pytest.approx(infer(weights, Observer()(rest)[1], 0).stages)


def test_limits_are_above_what_an_application_has() -> None:
    decima = Decima(some_weights(2), most_executors=20)
    wide, full, idle = Application(executors=7), Application(executors=20), Application()
    for application in (wide, full):
        application.graph.apply([JobStarted(0, DIAMOND)])
    everyone = {app(0): wide, app(1): full, app(2): idle}
    limits = {key: each.executor_limit for key, each in decima.rank(everyone, ()).items()}
    assert 8 <= (limits[app(0)] or 0) <= 20
    assert limits[app(1)] == 20
    assert limits[app(2)] is None, "it has nothing to do"


def test_executors_are_offered_up_to_what_the_policy_has_seen() -> None:
    application = Application(offered=4000)
    application.graph.apply([JobStarted(0, DIAMOND)])
    _, seen = Observer(50)({app(0): application})
    assert seen.jobs[0, 2] == 50 / 20


def test_no_executors_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="most_executors"):
        Decima(some_weights(1), most_executors=0)
