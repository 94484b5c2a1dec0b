"""The five CSV layouts, and everything that can be wrong in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carbon_api import times
from carbon_api.readings import Kind, Missing, Reason, Value
from carbon_api.sources.base import SourceError
from carbon_api.sources.traces import normalised, read_trace
from tests.carbon_api.support import START_S, published_trace, write_trace

SHORT = (
    "datetime,created_at,updated_at,timestamp,zone_name,carbon_intensity_avg,power_origin_percent_fossil_avg,"
    "power_origin_percent_renewable_avg,power_production_percent_fossil_avg,power_production_percent_renewable_avg"
)
LONG = (
    "zone_name,timestamp,power_production_wind_avg,latest_forecasted_carbon_intensity_avg,carbon_intensity_avg,"
    "power_consumption_gas_avg,datetime"
)
PORTAL_2021 = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),"
    "Carbon Intensity gCO₂eq/kWh (LCA),Low Carbon Percentage,Renewable Percentage,Data Source,Data Estimated,"
    "Data Estimation Method"
)
PORTAL_2024 = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
    "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method"
)
CARBON_CAST = (
    ",UTC time,carbon_intensity,biomass,coal,nat_gas,geothermal,hydro,nuclear,oil,solar,wind,unknown"
)


def file(path: Path, *lines: str, name: str = "trace.csv", encoding: str = "utf-8") -> Path:
    target = path / name
    target.write_text("\n".join(lines) + "\n", encoding=encoding)
    return target


LAYOUTS = {
    "academic-short": (
        SHORT,
        "2026-03-02T00:00:00+00:00,2026-03-03T07:00:00+00:00,2026-03-03T07:00:00+00:00,1772409600,XX,311.5,1,2,3,4",
        "2026-03-02T01:00:00+00:00,2026-03-03T07:00:00+00:00,2026-03-03T07:00:00+00:00,1772413200,XX,298,1,2,3,4",
    ),
    "academic-long": (
        LONG,
        "XX,1772409600,55,999,311.5,77,2026-03-02T00:00:00+00:00",
        "XX,1772413200,55,999,298,77,2026-03-02T01:00:00+00:00",
    ),
    "portal-2021": (
        PORTAL_2021,
        "2026-03-02 00:00:00,Nowhere,Nowhere,XX,150,311.5,40,30,invented,false,",
        "2026-03-02 01:00:00,Nowhere,Nowhere,XX,140,298,40,30,invented,true,TIME_SLICER_AVERAGE",
    ),
    "portal-2024": (
        PORTAL_2024,
        "2026-03-02 00:00:00,Nowhere,Nowhere,XX,150,311.5,40,30,invented,false,",
        "2026-03-02 01:00:00,Nowhere,Nowhere,XX,140,298,40,30,invented,true,TIME_SLICER_AVERAGE",
    ),
    "carbon-cast": (
        CARBON_CAST,
        "0,2026-03-02 00:00:00,311.5,1,2,3,4,5,6,7,8,9,10",
        "1,2026-03-02 01:00:00,298,1,2,3,4,5,6,7,8,9,10",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_layout_gives_the_same_series(tmp_path: Path, layout: str, encoding: str):
    path = file(tmp_path, *LAYOUTS[layout], encoding=encoding)
    series, notes = read_trace([path], "XX")
    assert (series.zone, series.kind, series.start_s) == ("XX", Kind.AVERAGE, START_S)
    assert series.values.tolist() == [311.5, 298]
    assert (notes.rows, notes.gaps, notes.refused.total()) == (2, 0, 0)
    portal = layout.startswith("portal")
    assert series.at(START_S + 3600) == Value(298, START_S + 3600, Kind.AVERAGE, portal, "replay")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_order_of_columns_does_not_matter(tmp_path: Path, layout: str):
    turned = [",".join(reversed(line.split(","))) for line in LAYOUTS[layout]]
    assert read_trace([file(tmp_path, *turned)], "XX")[0].values.tolist() == [311.5, 298]


def test_direct_factors_are_another_column(tmp_path: Path):
    path = file(tmp_path, *LAYOUTS["portal-2021"])
    assert read_trace([path], "XX", direct=True)[0].values.tolist() == [150, 140]


def test_factors_that_the_file_does_not_have_are_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="life-cycle"):
        read_trace([file(tmp_path, *LAYOUTS["academic-short"])], "XX", direct=True)
    lines = LAYOUTS["carbon-cast"]
    direct = file(tmp_path, *lines, name="XX_direct_emissions.csv")
    cycle = file(tmp_path, *lines, name="XX_lifecycle_emissions.csv")
    assert len(read_trace([direct], "XX", direct=True)[0]) == len(read_trace([cycle], "XX")[0]) == 2
    with pytest.raises(SourceError, match="holds direct factors"):
        read_trace([direct], "XX")
    with pytest.raises(SourceError, match="no intensity with direct factors"):
        read_trace([cycle], "XX", direct=True)


def test_gaps_stay_gaps_and_are_counted(tmp_path: Path):
    path = write_trace(tmp_path / "t.csv", [1, 2, None, "", "NaN", "inf", "1e9", -1, "x", 10])
    series, notes = read_trace([path], "XX")
    assert np.flatnonzero(series.present).tolist() == [0, 1, 9]
    assert series.at(START_S + 2 * 3600) == Missing(Reason.GAP)
    assert notes.gaps == 7
    assert notes.refused == {Reason.NOT_A_NUMBER: 4, Reason.ABSURD: 2}
    assert "7 gaps" in str(notes)


def test_duplicates_that_agree_count_once_and_others_not_at_all(tmp_path: Path):
    lines = list(LAYOUTS["portal-2024"])
    third = "2026-03-02 02:00:00,Nowhere,Nowhere,XX,140,500,40,30,invented,false,"
    other = "2026-03-02 02:00:00,Nowhere,Nowhere,XX,140,5,40,30,invented,false,"
    series, notes = read_trace([file(tmp_path, *lines, lines[2], third, other, third)], "XX")
    assert series.values[:2].tolist() == [311.5, 298]
    assert series.at(START_S + 7200) == Missing(Reason.GAP)
    assert (notes.duplicates, notes.conflicts) == (3, 2)


def test_rows_in_any_order_over_several_files(tmp_path: Path):
    header, first, second = LAYOUTS["portal-2024"]
    paths = [file(tmp_path, header, second, name="b.csv"), file(tmp_path, header, first, name="a.csv")]
    assert read_trace(paths, "XX")[0].values.tolist() == [311.5, 298]


@pytest.mark.parametrize("year, hours", [(2024, 8784), (2025, 8760), (2000, 8784), (2100, 8760)])
def test_leap_years_have_their_day(tmp_path: Path, year: int, hours: int):
    start_s, end_s = times.parse(f"{year}-01-01"), times.parse(f"{year + 1}-01-01")
    path = write_trace(tmp_path / "t.csv", [100] * int((end_s - start_s) // 3600), start_s=start_s)
    series, notes = read_trace([path], "XX")
    assert (len(series), notes.gaps, series.end_s) == (hours, 0, end_s)


@pytest.mark.parametrize("step_s", [300, 900, 1800])
def test_finer_steps_are_found_even_with_holes(tmp_path: Path, step_s: int):
    path = write_trace(tmp_path / "t.csv", [1, 2, None, 4, 5, 6, None, None, 9], step_s=step_s)
    series, notes = read_trace([path], "XX")
    assert (series.step_s, len(series), notes.gaps) == (step_s, 9, 3)
    assert series.at(START_S + 3 * step_s + 1) == Value(
        4, START_S + 3 * step_s, Kind.AVERAGE, False, "replay"
    )


def test_rows_between_the_steps_are_not_believed(tmp_path: Path):
    lines = [*LAYOUTS["portal-2024"], "2026-03-02 02:07:00,Nowhere,Nowhere,XX,140,298,40,30,invented,false,"]
    lines += [f"2026-03-02 {hour:02d}:00:00,N,N,XX,140,298,40,30,invented,false," for hour in range(2, 6)]
    series, notes = read_trace([file(tmp_path, *lines)], "XX")
    assert (series.step_s, len(series), notes.refused[Reason.UNREADABLE]) == (3600, 6, 1)


def test_one_bad_row_costs_that_row(tmp_path: Path):
    rows = [f"2026-03-02T{hour:02d}:00:00+00:00,{300 + hour},XX" for hour in range(24)]
    bad = {
        2: b"2026-03-02T02:00:00+00:00,\xff\xfe,XX",  # no UTF-8
        4: b"2026-03-02T04:00:00+00:00," + b"9" * 200_000 + b",XX",  # a cell beyond what csv reads
        6: b"2099-03-02T06:00:00+00:00,306,XX",  # a wrong year
        8: b"2026-03-02T08:00:00+00:00,0,XX",  # what is written for "no data"
        10: b"2026-03-02T10:00:00+00:00",  # cut short
    }
    lines = [bad.get(number, row.encode()) for number, row in enumerate(rows)]
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\n".join([b"datetime,carbon_intensity_avg,zone_name", *lines]) + b"\n")
    series, notes = read_trace([path], "XX")
    known = [number for number in range(24) if number not in bad]
    assert [row for row in range(len(series)) if series.present[row]] == known
    assert (notes.rows, notes.refused_rows) == (24, len(bad))


def test_rows_of_other_zones_are_left_out(tmp_path: Path):
    lines = [*LAYOUTS["portal-2024"], "2026-03-02 02:00:00,Elsewhere,Elsewhere,YY,1,2,40,30,invented,false,"]
    series, notes = read_trace([file(tmp_path, *lines)], "XX")
    assert (len(series), notes.refused[Reason.WRONG_ZONE]) == (2, 1)
    with pytest.raises(SourceError, match="no usable row for zone ZZ; it has XX, YY"):
        read_trace([file(tmp_path, *lines)], "ZZ")


@pytest.mark.parametrize(
    "lines, message",
    [
        ((), "no column holds the time"),
        (("a,b", "1,2"), "no column holds the time"),
        (("datetime,zone_name", "2026-03-02,XX"), "no column holds the life-cycle"),
        ((SHORT,), "no usable row"),
        ((SHORT, "then,,,,XX,3"), "no usable row"),
        ((PORTAL_2024, "2026-03-02 00:00:00"), "no usable row"),
        (("datetime,carbon_intensity", "2026-03-02,1", "2026-03-12,1"), "hourly ones or finer"),
        (
            (
                "datetime,carbon_intensity",
                *(f"2026-03-02T00:{minute:02d},1" for minute in range(20)),
                *(f"{year}-03-01,1" for year in range(2027, 2038)),
            ),
            "span",
        ),
        (("datetime,carbon_intensity", "x" * 200_000), "no usable row"),
        (("x" * 200_000,), "not a CSV file"),
    ],
)
def test_files_that_are_no_traces_are_refused_with_a_reason(
    tmp_path: Path, lines: tuple[str, ...], message: str
):
    with pytest.raises(SourceError, match=message):
        read_trace([file(tmp_path, *lines)], "XX")


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(SourceError, match="No such file"):
        read_trace([tmp_path / "nowhere.csv"], "XX")
    with pytest.raises(SourceError, match="directory"):
        read_trace([tmp_path], "XX")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00datetime")
    with pytest.raises(SourceError, match="not a CSV file"):
        read_trace([tmp_path / "binary.csv"], "XX")


def test_headers_are_known_whatever_their_unit_and_case():
    assert normalised("Carbon intensity gCO₂eq/kWh (Life cycle)") == "carbon_intensity_life_cycle"
    assert normalised(" CARBON INTENSITY (gCO2/kWh) (direct)") == "carbon_intensity_direct"
    assert normalised("Datetime (UTC)") == "datetime_utc"


@pytest.mark.parametrize(
    "name, zone, rows, mean",
    [
        ("DE_2021H1.csv", "DE", 4344, 425.66),
        ("ES_2021_hourly.csv", "ES", 8760, None),
        ("US-CAL-CISO_2022_hourly.csv", "US-CAL-CISO", 8760, None),
    ],
)
def test_traces_as_they_are_published(name: str, zone: str, rows: int, mean: float | None):
    series, notes = read_trace([published_trace(name)], zone)
    assert (len(series), notes.gaps, notes.refused.total(), series.step_s) == (rows, 0, 0, 3600)
    if mean is not None:
        assert float(series.values.mean()) == pytest.approx(mean, abs=0.01)
