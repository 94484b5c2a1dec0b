"""Answers of providers in their recorded shapes, around invented numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carbon_api import times
from tests.carbon_api.support import START_S

EIC = "10YXX-TESTS----1"


def _z(at_s: float, millis: str = "") -> str:
    return times.iso(at_s).replace("+00:00", f"{millis}Z")


def electricity_maps(
    zone: str, values: Sequence[object], field: str = "history", **more: Any
) -> dict[str, Any]:
    """`/v3/carbon-intensity/history` (or `/past-range`, whose list is called `data`)."""
    entries = [
        {
            "zone": zone,
            "carbonIntensity": value,
            "datetime": _z(START_S + row * 3600, ".000"),
            "updatedAt": "2026-03-02T10:46:12.101Z",
            "createdAt": "2026-02-27T10:51:03.555Z",
            "emissionFactorType": "lifecycle",
            "isEstimated": False,
            "estimationMethod": None,
            **more,
        }
        for row, value in enumerate(values)
    ]
    return {"zone": zone, field: entries, "temporalGranularity": "hourly"}


def watttime(region: str, values: Sequence[object], **meta: Any) -> dict[str, Any]:
    """`/v3/historical`."""
    return {
        "data": [
            {"point_time": times.iso(START_S + row * 300), "value": value} for row, value in enumerate(values)
        ],
        "meta": {
            "data_point_period_seconds": 300,
            "region": region,
            "warnings": [],
            "signal_type": "co2_moer",
            "model": {"date": "2025-10-01"},
            "units": "lbs_co2_per_mwh",
            **meta,
        },
    }


def uk(values: Sequence[object]) -> dict[str, Any]:
    """`/intensity/{from}/{to}`; the forecast beside each value is another number."""
    return {
        "data": [
            {
                "from": _z(START_S + row * 1800)[:16] + "Z",
                "to": _z(START_S + (row + 1) * 1800)[:16] + "Z",
                "intensity": {"forecast": 777, "actual": value, "index": "moderate"},
            }
            for row, value in enumerate(values)
        ]
    }


def generation(
    mix: Mapping[str, Sequence[object]],
    zone: str = EIC,
    resolution: str = "PT60M",
    step_s: int = 3600,
    curve: str = "A01",
    direction: str = "in",
    unit: str = "MAW",
    start_s: float = START_S,
) -> str:
    """ENTSO-E's document type A75. A quantity of None leaves the point out."""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<GL_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0">',
        "<mRID>invented</mRID><type>A75</type><process.processType>A16</process.processType>",
    ]
    domain = f"{direction}BiddingZone_Domain.mRID"
    for kind, quantities in mix.items():
        points = "".join(
            f"<Point><position>{row}</position><quantity>{quantity}</quantity></Point>"
            for row, quantity in enumerate(quantities, start=1)
            if quantity is not None
        )
        end_s = start_s + step_s * len(quantities)
        parts.append(
            f"<TimeSeries><mRID>1</mRID><businessType>A01</businessType>"
            f"<{domain} codingScheme='A01'>{zone}</{domain}>"
            f"<quantity_Measure_Unit.name>{unit}</quantity_Measure_Unit.name><curveType>{curve}</curveType>"
            f"<MktPSRType><psrType>{kind}</psrType></MktPSRType>"
            f"<Period><timeInterval><start>{_z(start_s)[:16]}Z</start><end>{_z(end_s)[:16]}Z</end></timeInterval>"
            f"<resolution>{resolution}</resolution>{points}</Period></TimeSeries>"
        )
    return "".join([*parts, "</GL_MarketDocument>"])


def no_generation() -> str:
    """What the platform answers when it has nothing, with status 200."""
    return (
        "<Acknowledgement_MarketDocument "
        'xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0">'
        "<Reason><code>999</code><text>No matching data found</text></Reason>"
        "</Acknowledgement_MarketDocument>"
    )
