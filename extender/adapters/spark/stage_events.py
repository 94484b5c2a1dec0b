"""Stage events of drivers and event logs, translated for the core.

Both speak of more than stages: executors come from the cluster's pods, bytes are for the profiler. Impossible
events are left out and counted; no report of a driver can raise here or take much memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from extender.adapters.spark.eventlog import events as spark
from extender.core.stages import events as core

MOST_PARENTS: Final = 1_000
"""Parents of one stage that are kept; a union of so many shuffles is not planned any better with more."""

_LONGEST_NAME: Final = 200


_SLICE: Final = 500  # events and stages of jobs: some milliseconds of the store's time


class Nonsense(ValueError):
    """An update that cannot be true; the text says why."""


def stage_event(update: spark.LogEvent | spark.Update) -> core.StageEvent | None:
    """The core's event for one update, or None if it says nothing of stages.

    Raises:
        Nonsense: a number is negative or larger than Spark can count.
    """
    try:
        return _translate(update)
    except ValueError as problem:
        raise Nonsense(str(problem)) from None


def stage_events(updates: Iterable[spark.LogEvent | spark.Update]) -> tuple[list[core.StageEvent], int]:
    """All that updates say of stages, in their order, and how many were left out as nonsense."""
    told: list[core.StageEvent] = []
    nonsense = 0
    for update in updates:
        try:
            event = stage_event(update)
        except Nonsense:
            nonsense += 1
            continue
        if event is not None:
            told.append(event)
    return told, nonsense


def slices(events: Iterable[core.StageEvent]) -> Iterator[tuple[core.StageEvent, ...]]:
    """Events in portions between which the event loop should have a turn; an empty one if there are none."""
    portion: list[core.StageEvent] = []
    weight = 0
    for event in events:
        cost = 1 + len(event.stages) if isinstance(event, core.JobStarted) else 1
        if portion and weight + cost > _SLICE:
            yield tuple(portion)
            portion, weight = [], 0
        portion.append(event)
        weight += cost
    yield tuple(portion)


def _translate(update: spark.LogEvent | spark.Update) -> core.StageEvent | None:
    match update:
        case spark.JobStart():
            # All ancestors are listed with a job, the skipped ones too: other parents are no stages.
            listed = frozenset(stage.stage_id for stage in update.stages)
            stages = tuple(_stage(stage, listed) for stage in update.stages)
            return core.JobStarted(update.job_id, stages, update.time_ms)
        case spark.JobEnd():
            return core.JobEnded(update.job_id, update.succeeded, update.time_ms)
        case spark.StageSubmitted():
            return core.StageSubmitted(_stage(update.stage), update.stage.submitted_ms or 0)
        case spark.StageCompleted():
            stage = update.stage
            failure = stage.failure[:_LONGEST_NAME]
            return core.StageCompleted(_stage(stage), stage.completed_ms or 0, failure)
        case spark.TaskProgress():
            return _progress(update)
        case spark.TaskEnd():
            return (
                core.MoreTasksEnded(update.stage_id, update.attempt, 1, update.duration_ms)
                if update.succeeded
                else None
            )
        case _:
            return None


def _stage(stage: spark.StageInfo, listed: frozenset[int] | None = None) -> core.StageInfo:
    named = dict.fromkeys(stage.parent_ids[: 10 * MOST_PARENTS])
    parents = tuple(parent for parent in named if listed is None or parent in listed)
    return core.StageInfo(
        stage_id=stage.stage_id,
        rdd_id=stage.key,
        tasks=stage.tasks,
        attempt=stage.attempt,
        parents=parents[:MOST_PARENTS],
        name=stage.name[:_LONGEST_NAME],
        resource_profile=stage.profile_id,
    )


def _progress(update: spark.TaskProgress) -> core.MoreTasksEnded | None:
    """Tasks that succeeded. Durations arrive as one sum over failed ones too and are shared out evenly."""
    succeeded, failed = update.succeeded, update.failed
    if not 0 <= failed < 2**31:
        raise Nonsense("TaskProgress.failed must be a whole number from 0 that fits an int; fix the sender")
    if succeeded == 0:
        return None
    task_ms = update.duration_ms
    if failed and succeeded > 0:
        task_ms = task_ms * succeeded // (succeeded + failed)
    return core.MoreTasksEnded(update.stage_id, update.attempt, succeeded, task_ms)
