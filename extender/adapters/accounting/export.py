"""The ledger's tables as CSV and Parquet files. Times are UTC; what is not known is empty, and says why."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from extender.adapters.accounting.ledger import Ledger
from extender.adapters.accounting.schema import IN_WINDOW, STAGE_ENERGY

ROWS_A_GROUP: Final = 50_000
"""Rows of a Parquet row group: as many as are in memory at once."""

TIME, TEXT, NUMBER = "time", "text", "number"


class ExportError(Exception):
    """A file cannot be written; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the ledger: name of the file, its columns (name, type), and the query that fills them."""

    name: str
    columns: tuple[tuple[str, str], ...]
    query: str


TABLES: Final = (
    Table(
        "bookings",
        (
            ("cell", TIME),
            ("start", TIME),
            ("end", TIME),
            ("namespace", TEXT),
            ("application", TEXT),
            ("node", TEXT),
            ("zone", TEXT),
            ("kind", TEXT),
            ("source", TEXT),
            ("energy_kwh", NUMBER),
            ("carbon_g", NUMBER),
            ("carbon_unknown", TEXT),
            ("core_s", NUMBER),
        ),
        "SELECT cell_s, start_s, end_s, namespace, app_id, node, zone, kind, source, energy_kwh, "  # noqa: S608
        f"carbon_g, unknown_reason, core_s FROM bookings WHERE {IN_WINDOW} ORDER BY cell_s",
    ),
    Table(
        "stages",
        (
            ("cell", TIME),
            ("namespace", TEXT),
            ("application", TEXT),
            ("stage", TEXT),
            ("name", TEXT),
            ("task_s", NUMBER),
            ("energy_kwh", NUMBER),
            ("carbon_g", NUMBER),
            ("unknown_kwh", NUMBER),
        ),
        f"{STAGE_ENERGY} SELECT cell_s, namespace, app_id, stage, name, task_s, energy_kwh, carbon_g, "  # noqa: S608
        "unknown_kwh FROM shares ORDER BY cell_s, namespace, app_id, stage",
    ),
    Table(
        "applications",
        (
            ("namespace", TEXT),
            ("application", TEXT),
            ("strategy", TEXT),
            ("submitted", TIME),
            ("started", TIME),
            ("ended", TIME),
            ("end_estimated", NUMBER),
            ("waiting_s", NUMBER),
            ("baseline_missing", TEXT),
        ),
        "SELECT namespace, app_id, strategy, submitted_s, started_s, ended_s, "
        "end_estimated, CASE WHEN baseline_missing = '' THEN started_s - submitted_s END, baseline_missing "
        "FROM applications WHERE (ended_s IS NULL OR ended_s >= ?) AND submitted_s < ? ORDER BY submitted_s",
    ),
    Table(
        "decisions",
        (
            ("time", TIME),
            ("namespace", TEXT),
            ("application", TEXT),
            ("pod", TEXT),
            ("node", TEXT),
            ("strategy", TEXT),
            ("outcome", TEXT),
            ("detail", TEXT),
            ("score", NUMBER),
            ("intensity_g_per_kwh", NUMBER),
            ("intensity_unknown", TEXT),
        ),
        "SELECT at_s, namespace, app_id, pod, node, strategy, outcome, detail, score, g_per_kwh, "
        "unknown_reason FROM decisions WHERE at_s >= ? AND at_s < ? ORDER BY at_s",
    ),
    Table(
        "intensities",
        (("zone", TEXT), ("start", TIME), ("g_per_kwh", NUMBER), ("unknown", TEXT)),
        "SELECT zone, start_s, g_per_kwh, unknown_reason FROM intensities "
        "WHERE start_s >= ? AND start_s < ? ORDER BY zone, start_s",
    ),
)


def write_csv(ledger: Ledger, directory: Path, since_s: float, until_s: float) -> list[Path]:
    """One file a table. Raises `ExportError`, `LedgerError`."""

    def write(path: Path, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(name for name, _ in table.columns)
            times = [index for index, (_, kind) in enumerate(table.columns) if kind == TIME]
            for row in rows:
                cells = list(row)
                for index in times:
                    cells[index] = None if row[index] is None else _moment(row[index]).isoformat()
                writer.writerow(cells)

    return _write_all(ledger, directory, since_s, until_s, "csv", write)


def write_parquet(ledger: Ledger, directory: Path, since_s: float, until_s: float) -> list[Path]:
    """One file a table, needs the extra `parquet`. Raises `ExportError`, `LedgerError`."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as problem:
        raise ExportError("Parquet needs pyarrow: pip install 'carbon-scheduler[parquet]'") from problem
    types = {TIME: pa.timestamp("us", tz="UTC"), TEXT: pa.string(), NUMBER: pa.float64()}

    def write(path: Path, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        schema = pa.schema([(name, types[kind]) for name, kind in table.columns])
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for chunk in _chunks(rows):
                arrays = [
                    pa.array(_column(values, kind), types[kind])
                    for values, (_, kind) in zip(zip(*chunk, strict=True), table.columns, strict=True)
                ]
                writer.write_table(pa.table(arrays, schema=schema))

    return _write_all(ledger, directory, since_s, until_s, "parquet", write)


def _write_all(
    ledger: Ledger,
    directory: Path,
    since_s: float,
    until_s: float,
    suffix: str,
    write: Callable[[Path, Table, Iterable[Sequence[Any]]], None],
) -> list[Path]:
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            path = directory / f"{table.name}.{suffix}"
            # A reader sees the old file or the whole new one.
            unfinished = path.with_suffix(f".{suffix}.part")
            write(unfinished, table, ledger.select(table.query, (since_s, until_s)))
            unfinished.replace(path)
            written.append(path)
    except OSError as problem:
        raise ExportError(f"{directory}: {problem.strerror or problem}: name another directory") from problem
    return written


def _chunks(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, ROWS_A_GROUP)):
        yield chunk


def _column(values: Sequence[Any], kind: str) -> Sequence[Any]:
    return [None if value is None else _moment(value) for value in values] if kind == TIME else values


def _moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)
