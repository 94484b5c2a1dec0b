"""Inference of the network published with Decima (SIGCOMM'19), in NumPy and float32.

Leaky ReLU everywhere but in the last layer of the two heads. Information flows from the last stages to the
first, in at most eight steps; which stages hear their children in which step is fixed by the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.stages.decima_weights import DecimaWeights, Floats, Layers

STEPS: Final = 8
_SLOPE: Final = np.float32(0.2)
_FORBIDDEN: Final = np.float32(10_000.0)
_LEVEL_SCALE: Final = np.float32(50.0)


@dataclass(frozen=True, slots=True)
class Observation:
    """What the network sees of n stages in m jobs.

    `stages` float32[n, 5] and `jobs` float32[m, 3] are features; `job_of` int[n] is each stage's job;
    `edges` are (parent, child) stage rows; `finished` bool[n] marks completed stages; `valid` bool[n]
    those that may be chosen; `limit_from` int[m] is the smallest valid executor limit of each job. `steps` is
    what `schedule` says of the edges, if it is known already.
    """

    stages: Floats
    jobs: Floats
    job_of: NDArray[np.int64]
    edges: Sequence[tuple[int, int]]
    finished: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    limit_from: NDArray[np.int64]
    steps: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True, slots=True)
class Inference:
    """Probabilities: `stages` float64[n] over all stages, `limits` float64[m, levels] over each job's limits.

    `limits[:, i]` belongs to a limit of i + 1 executors.
    """

    stages: NDArray[np.float64]
    limits: NDArray[np.float64]


def infer(weights: DecimaWeights, observation: Observation, levels: int) -> Inference:
    """Choose among stages, and among the limits 1..`levels` of each job (0: among stages only)."""
    blocks = weights.blocks
    embedded = _pass_messages(blocks["prepare"], blocks["process"], blocks["aggregate"], observation)
    raw = observation.stages
    summands = _layers(blocks["job"], np.concatenate([raw, embedded], axis=1))
    jobs = np.zeros((len(observation.jobs), 8), np.float32)
    open_rows = ~observation.finished
    np.add.at(jobs, observation.job_of[open_rows], summands[open_rows])
    everything = _layers(blocks["all_jobs"], jobs).sum(axis=0, dtype=np.float32)

    around = np.broadcast_to(everything, (len(raw), 8))
    seen = np.concatenate([raw, embedded, jobs[observation.job_of], around], axis=1)
    stage_scores = _layers(blocks["stage_head"], seen, linear_end=True)[:, 0]
    stages = _softmax(stage_scores, observation.valid)

    level = np.arange(1, levels + 1)
    context = np.concatenate(
        [observation.jobs, jobs, np.broadcast_to(everything, (len(jobs), 8))], axis=1
    ).repeat(levels, axis=0)
    scaled = np.tile(level.astype(np.float32) / _LEVEL_SCALE, len(jobs))[:, None]
    scores = _layers(blocks["limit_head"], np.concatenate([context, scaled], axis=1), linear_end=True)
    limits = _softmax(scores.reshape(len(jobs), levels), level[None, :] >= observation.limit_from[:, None])
    return Inference(stages, limits)


def schedule(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Stages that hear their children in each step; trailing steps without any are left out.

    A stage is updated when all its children have just been heard, and again when a longer way to an end is
    found; then both messages add up. That is how the network was trained. Parts of the graph that are not
    connected have nothing to do with each other.
    """
    children: list[list[int]] = [[] for _ in range(count)]
    parents: list[list[int]] = [[] for _ in range(count)]
    for parent, child in edges:
        children[parent].append(child)
        parents[child].append(parent)
    current = set(range(count))
    for _ in range(STEPS):
        current = {following for stage in current for following in (children[stage] or [stage])}
    level = dict.fromkeys(current, 0)
    steps: list[list[int]] = []
    for _ in range(STEPS):
        updated: dict[int, int] = {}
        for parent in {parent for stage in current for parent in parents[stage]}:
            if current.issuperset(children[parent]):
                reached = 1 + max(level[child] for child in children[parent])
                if reached > level.get(parent, 0):
                    updated[parent] = reached
        if not updated:
            break
        level.update(updated)
        steps.append(sorted(updated))
        current = updated.keys() | {
            stage for stage in current if any(parent not in level for parent in parents[stage])
        }
    return steps


def _pass_messages(prepare: Layers, process: Layers, aggregate: Layers, observation: Observation) -> Floats:
    values = _layers(prepare, observation.stages)
    edges = np.array(observation.edges, np.int64).reshape(-1, 2)
    steps = observation.steps
    for updated in schedule(len(values), observation.edges) if steps is None else steps:
        rows = np.zeros(len(values), bool)
        rows[updated] = True
        heard = edges[rows[edges[:, 0]]]
        sums = np.zeros_like(values)
        np.add.at(sums, heard[:, 0], _layers(process, values)[heard[:, 1]])
        values[rows] += _layers(aggregate, sums[rows])
    return values


def _layers(layers: Layers, values: Floats, *, linear_end: bool = False) -> Floats:
    for number, (weights, biases) in enumerate(layers, start=1):
        values = values @ weights + biases
        if number < len(layers) or not linear_end:
            values = np.maximum(_SLOPE * values, values)
    return values


def _softmax(scores: Floats, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Over the last axis; all zero where nothing is valid."""
    if not scores.size:
        return np.zeros(scores.shape, np.float64)
    shifted = scores + (valid.astype(np.float32) - np.float32(1.0)) * _FORBIDDEN
    powers = np.exp((shifted - shifted.max(axis=-1, keepdims=True)).astype(np.float64))
    powers = np.where(valid, powers, 0.0)
    total = powers.sum(axis=-1, keepdims=True)
    return np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
