"""Tables of the ledger, in SQL that SQLite and PostgreSQL both speak."""

from __future__ import annotations

from typing import Final

from extender.adapters.accounting.books import CELL_S

VERSION: Final = "3"
UPGRADES: Final = {
    "2": ("3", "ALTER TABLE applications ADD COLUMN end_estimated SMALLINT NOT NULL DEFAULT 0"),
}
"""By version of a ledger: the next one, and the statement that makes it. Older releases refuse the result."""

TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """
    CREATE TABLE IF NOT EXISTS bookings (
        cell_s DOUBLE PRECISION NOT NULL,
        namespace TEXT NOT NULL,
        app_id TEXT NOT NULL,
        node TEXT NOT NULL,
        zone TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('actual', 'baseline')),
        source TEXT NOT NULL,
        unknown_reason TEXT NOT NULL,
        start_s DOUBLE PRECISION NOT NULL,
        end_s DOUBLE PRECISION NOT NULL,
        energy_kwh DOUBLE PRECISION NOT NULL,
        carbon_g DOUBLE PRECISION,
        core_s DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (cell_s, namespace, app_id, node, zone, kind, source, unknown_reason),
        CHECK ((unknown_reason = '') = (carbon_g IS NOT NULL))
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS stages (
        cell_s DOUBLE PRECISION NOT NULL,
        namespace TEXT NOT NULL,
        app_id TEXT NOT NULL,
        stage TEXT NOT NULL,
        name TEXT NOT NULL,
        task_s DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (cell_s, namespace, app_id, stage),
        CHECK (task_s >= 0)
    )
    """,
    "CREATE INDEX IF NOT EXISTS stages_by_application ON stages (namespace, app_id)",
    "CREATE INDEX IF NOT EXISTS bookings_by_application ON bookings (namespace, app_id)",
    """
    CREATE TABLE IF NOT EXISTS applications (
        namespace TEXT NOT NULL,
        app_id TEXT NOT NULL,
        strategy TEXT NOT NULL,
        submitted_s DOUBLE PRECISION NOT NULL,
        started_s DOUBLE PRECISION,
        ended_s DOUBLE PRECISION,
        baseline_s DOUBLE PRECISION,
        baseline_missing TEXT NOT NULL,
        end_estimated SMALLINT NOT NULL DEFAULT 0,
        PRIMARY KEY (namespace, app_id),
        CHECK ((baseline_missing = '') = (baseline_s IS NOT NULL))
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS pods (
        uid TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        app_id TEXT NOT NULL,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        node TEXT NOT NULL,
        requests TEXT NOT NULL
    )
    """,
    "CREATE TABLE IF NOT EXISTS nodes (name TEXT PRIMARY KEY)",
    """
    CREATE TABLE IF NOT EXISTS intensities (
        zone TEXT NOT NULL,
        start_s DOUBLE PRECISION NOT NULL,
        g_per_kwh DOUBLE PRECISION,
        unknown_reason TEXT NOT NULL,
        PRIMARY KEY (zone, start_s),
        CHECK ((unknown_reason = '') = (g_per_kwh IS NOT NULL))
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS decisions (
        at_s DOUBLE PRECISION NOT NULL,
        namespace TEXT NOT NULL,
        app_id TEXT NOT NULL,
        pod TEXT NOT NULL,
        node TEXT NOT NULL,
        strategy TEXT NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        score DOUBLE PRECISION,
        g_per_kwh DOUBLE PRECISION,
        unknown_reason TEXT NOT NULL,
        PRIMARY KEY (at_s, namespace, app_id, pod, node, outcome)
    )
    """,
)

ADD_BOOKING: Final = """
    INSERT INTO bookings (cell_s, namespace, app_id, node, zone, kind, source, unknown_reason,
                          start_s, end_s, energy_kwh, carbon_g, core_s)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (cell_s, namespace, app_id, node, zone, kind, source, unknown_reason) DO UPDATE SET
        start_s = CASE WHEN excluded.start_s < bookings.start_s
                       THEN excluded.start_s ELSE bookings.start_s END,
        end_s = CASE WHEN excluded.end_s > bookings.end_s THEN excluded.end_s ELSE bookings.end_s END,
        energy_kwh = bookings.energy_kwh + excluded.energy_kwh,
        carbon_g = bookings.carbon_g + excluded.carbon_g,
        core_s = bookings.core_s + excluded.core_s
"""

ADD_STAGE_TIME: Final = """
    INSERT INTO stages (cell_s, namespace, app_id, stage, name, task_s) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (cell_s, namespace, app_id, stage) DO UPDATE SET
        name = excluded.name, task_s = stages.task_s + excluded.task_s
"""

PUT_APPLICATION: Final = """
    INSERT INTO applications (namespace, app_id, strategy, submitted_s, started_s, ended_s, baseline_s,
                              baseline_missing, end_estimated)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (namespace, app_id) DO UPDATE SET
        strategy = excluded.strategy, submitted_s = excluded.submitted_s, started_s = excluded.started_s,
        ended_s = excluded.ended_s, baseline_s = excluded.baseline_s,
        baseline_missing = excluded.baseline_missing, end_estimated = excluded.end_estimated
"""

PUT_POD: Final = """
    INSERT INTO pods (uid, namespace, app_id, name, role, node, requests) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (uid) DO UPDATE SET node = excluded.node, requests = excluded.requests
"""

PUT_INTENSITY: Final = """
    INSERT INTO intensities (zone, start_s, g_per_kwh, unknown_reason) VALUES (?, ?, ?, ?)
    ON CONFLICT (zone, start_s) DO UPDATE SET
        g_per_kwh = excluded.g_per_kwh, unknown_reason = excluded.unknown_reason
"""

PUT_DECISION: Final = """
    INSERT INTO decisions (at_s, namespace, app_id, pod, node, strategy, outcome, detail, score, g_per_kwh,
                           unknown_reason)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (at_s, namespace, app_id, pod, node, outcome) DO NOTHING
"""

PRUNE: Final = (
    "DELETE FROM bookings WHERE cell_s < ?",
    "DELETE FROM stages WHERE cell_s < ?",
    "DELETE FROM decisions WHERE at_s < ?",
    "DELETE FROM applications WHERE ended_s < ?",
    # The last step before the limit still says what holds after it.
    """
    DELETE FROM intensities WHERE start_s < (
        SELECT MAX(later.start_s) FROM intensities AS later
        WHERE later.zone = intensities.zone AND later.start_s <= ?
    )
    """,
)

IN_WINDOW: Final = f"cell_s > ? - {CELL_S} AND cell_s < ?"
"""Picks the cells of which any part lies between two moments, the end not included."""

STAGE_ENERGY: Final = f"""
    WITH cells AS (
        SELECT cell_s, namespace, app_id, SUM(energy_kwh) AS energy_kwh, SUM(carbon_g) AS carbon_g,
               SUM(CASE WHEN unknown_reason <> '' THEN energy_kwh ELSE 0 END) AS unknown_kwh
        FROM bookings WHERE kind = 'actual' AND app_id <> '' AND {IN_WINDOW}
        GROUP BY cell_s, namespace, app_id
    ), task_times AS (
        SELECT cell_s, namespace, app_id, SUM(task_s) AS task_s FROM stages WHERE task_s > 0
        GROUP BY cell_s, namespace, app_id
    ), parts AS (
        SELECT stages.cell_s, stages.namespace, stages.app_id, stage, name, stages.task_s,
               stages.task_s / task_times.task_s AS part
        FROM stages JOIN task_times ON stages.cell_s = task_times.cell_s
            AND stages.namespace = task_times.namespace AND stages.app_id = task_times.app_id
        UNION ALL
        SELECT cells.cell_s, cells.namespace, cells.app_id, '', '', 0, 1
        FROM cells LEFT JOIN task_times ON cells.cell_s = task_times.cell_s
            AND cells.namespace = task_times.namespace AND cells.app_id = task_times.app_id
        WHERE task_times.task_s IS NULL AND EXISTS (
            SELECT 1 FROM stages WHERE stages.namespace = cells.namespace AND stages.app_id = cells.app_id)
    ), shares AS (
        SELECT cells.cell_s, cells.namespace, cells.app_id, stage, name, task_s,
               part * energy_kwh AS energy_kwh, part * carbon_g AS carbon_g, part * unknown_kwh AS unknown_kwh
        FROM parts JOIN cells ON parts.cell_s = cells.cell_s
            AND parts.namespace = cells.namespace AND parts.app_id = cells.app_id
    )
"""  # noqa: S608
"""Begins a query on `shares`: the energy of applications by cell and stage, between two moments."""
