"""What is particular to each provider. Shapes are theirs; all numbers are invented."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from carbon_api.readings import Kind, Missing, Reason, Value
from carbon_api.sources.base import Answer
from carbon_api.sources.electricity_maps import ElectricityMaps
from carbon_api.sources.entsoe import Entsoe
from carbon_api.sources.factors import FACTORS_G_PER_KWH, STORAGE
from carbon_api.sources.http import Web
from carbon_api.sources.keys import KeyFile
from carbon_api.sources.uk import UkCarbonIntensity
from carbon_api.sources.watttime import WattTime
from tests.carbon_api.documents import EIC, electricity_maps, generation, no_generation, uk, watttime
from tests.carbon_api.support import START_S, Hand, Provider, key_file

DAY_S = 86_400
WINDOW = (START_S, START_S + 4 * 3600)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[Web]:
    opened = Web(timeout_s=5)
    yield opened
    await opened.close()


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile(key_file(tmp_path))


def reason(answer: Answer) -> Reason | None:
    return None if answer.problem is None else answer.problem.reason


def values(answer: Answer) -> list[float]:
    return [] if answer.series is None else answer.series.values.tolist()


# Electricity Maps


@pytest.fixture
def maps(provider: Provider, client: Web, key: KeyFile) -> ElectricityMaps:
    return ElectricityMaps(client, key, provider.url, wall=lambda: START_S + 5 * 3600)


@pytest.mark.parametrize(
    "flags, estimated",
    [
        ({"isEstimated": False}, False),
        ({"isEstimated": True}, True),
        ({"isEstimated": True, "estimationMethod": "TIME_SLICER_AVERAGE"}, True),
        ({"isEstimated": False, "estimatedMethod": "TIME_SLICER_AVERAGE"}, True),
        ({"isEstimated": None, "estimatedMethod": None}, False),
    ],
)
async def test_estimated_values_are_flagged_in_both_spellings(
    provider: Provider, maps: ElectricityMaps, flags: dict[str, Any], estimated: bool
):
    provider.answers(electricity_maps("XX", [298], **flags))
    answer = await maps.fetch("XX", *WINDOW)
    assert answer.series is not None
    reading = answer.series.at(START_S)
    assert isinstance(reading, Value)
    assert reading.estimated is estimated


async def test_the_caller_s_own_zone_is_not_asked_for(provider: Provider, maps: ElectricityMaps):
    provider.answers(electricity_maps("XX", [298]))
    await maps.fetch("XX", *WINDOW)
    (request,) = provider.asked
    assert request.path == "/carbon-intensity/history"
    assert dict(request.query) == {
        "zone": "XX",
        "emissionFactorType": "lifecycle",
        "shouldUseFallbackCallerLookup": "false",
    }


async def test_older_values_come_from_the_range(provider: Provider, maps: ElectricityMaps):
    provider.answers(electricity_maps("XX", [298, 311], field="data"))
    answer = await maps.fetch("XX", START_S - 9 * DAY_S, START_S + 3600)
    (request,) = provider.asked
    assert request.path == "/carbon-intensity/past-range"
    assert request.query["start"] == "2026-02-21T00:00:00+00:00"
    assert values(answer) == [298]  # the second starts at the end of the window


@pytest.mark.parametrize("wrong", [{"temporalGranularity": "5_minutes"}, {"emissionFactorType": "direct"}])
async def test_other_steps_and_factors_are_refused(
    provider: Provider, maps: ElectricityMaps, wrong: dict[str, str]
):
    for document in (electricity_maps("XX", [298], **wrong), electricity_maps("XX", [298]) | wrong):
        provider.answers(document)
        assert reason(await maps.fetch("XX", *WINDOW)) is Reason.WRONG_UNIT


async def test_single_entries_of_another_zone_are_left_out(provider: Provider, maps: ElectricityMaps):
    document = electricity_maps("XX", [298, 311])
    document["history"][0]["zone"] = "YY"
    provider.answers(document)
    answer = await maps.fetch("XX", *WINDOW)
    assert (values(answer), reason(answer)) == ([311], Reason.WRONG_ZONE)


async def test_an_answer_that_names_no_zone_is_no_answer(provider: Provider, maps: ElectricityMaps):
    document = electricity_maps("XX", [298])
    del document["zone"]
    provider.answers(document)
    assert reason(await maps.fetch("XX", *WINDOW)) is Reason.WRONG_ZONE


# WattTime


class Login:
    """WattTime's login, and a token that can be revoked."""

    def __init__(self, provider: Provider, document: Any) -> None:
        self.logins = 0
        self.valid = ""
        self._document = document
        provider.reply = self.reply

    def reply(self, request: web.Request) -> web.Response:
        if request.path == "/login":
            self.logins += 1
            self.valid = f"token-{self.logins}"
            return web.json_response({"token": self.valid})
        if request.headers["Authorization"] != f"Bearer {self.valid}":
            return web.json_response({"error": "invalid token"}, status=401)
        return web.json_response(self._document)


async def test_a_token_is_used_until_it_ends(provider: Provider, client: Web, key: KeyFile):
    hand = Hand()
    source = WattTime(client, key, key, provider.url, hand)
    login = Login(provider, watttime("CAISO_NORTH", [861.5]))
    for minutes, logins in ((0, 1), (10, 1), (24, 1), (26, 2), (40, 2), (60, 3)):
        hand.at_s = minutes * 60.0
        assert len(values(await source.fetch("CAISO_NORTH", *WINDOW))) == 1
        assert login.logins == logins


async def test_a_token_that_expired_early_is_replaced_once(provider: Provider, client: Web, key: KeyFile):
    source = WattTime(client, key, key, provider.url, Hand())
    login = Login(provider, watttime("CAISO_NORTH", [861.5]))
    await source.fetch("CAISO_NORTH", *WINDOW)
    login.valid = "revoked"
    assert len(values(await source.fetch("CAISO_NORTH", *WINDOW))) == 1
    assert login.logins == 2


async def test_a_token_that_is_never_taken_is_not_tried_for_ever(
    provider: Provider, client: Web, key: KeyFile
):
    source = WattTime(client, key, key, provider.url, Hand())

    def reply(request: web.Request) -> web.Response:
        return web.json_response({"token": "x"}, status=200 if request.path == "/login" else 401)

    provider.reply = reply
    assert reason(await source.fetch("CAISO_NORTH", *WINDOW)) is Reason.NO_CREDENTIALS
    assert [request.path for request in provider.asked] == ["/login", "/v3/historical"] * 2


@pytest.mark.parametrize("token", [None, 5, "", "two\r\nlines", "x" * 20_000, "tøken"])
async def test_a_login_without_a_usable_token(provider: Provider, client: Web, key: KeyFile, token: Any):
    provider.answers({"token": token})
    source = WattTime(client, key, key, provider.url, Hand())
    assert reason(await source.fetch("CAISO_NORTH", *WINDOW)) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "meta",
    [
        {"units": "percentile"},
        {"units": None},
        {"signal_type": "health_damage"},
        {"data_point_period_seconds": 3600},
    ],
)
async def test_what_is_not_a_rate_in_pounds_is_refused(
    provider: Provider, client: Web, key: KeyFile, meta: dict[str, Any]
):
    Login(provider, watttime("CAISO_NORTH", [37.0], **meta))
    source = WattTime(client, key, key, provider.url, Hand())
    answer = await source.fetch("CAISO_NORTH", *WINDOW)
    assert (answer.series, reason(answer)) == (None, Reason.WRONG_UNIT)


async def test_pounds_become_grams_and_stay_marginal(provider: Provider, client: Web, key: KeyFile):
    Login(provider, watttime("CAISO_NORTH", [1000.0]))
    answer = await WattTime(client, key, key, provider.url, Hand()).fetch("CAISO_NORTH", *WINDOW)
    assert answer.series is not None
    assert answer.series.at(START_S) == Value(453.59237, START_S, Kind.MARGINAL, False, "watttime")


# UK Carbon Intensity


async def test_a_forecast_never_stands_in_for_an_actual_value(provider: Provider, client: Web):
    provider.answers(uk([143, None, 139]))
    answer = await UkCarbonIntensity(client, provider.url).fetch("GB", *WINDOW)
    assert answer.series is not None
    assert answer.series.at(START_S + 1800) == Missing(Reason.GAP)
    assert (answer.series.step_s, reason(answer)) == (1800, Reason.NOT_A_NUMBER)
    assert 777 not in values(answer)
    assert provider.asked[0].path == "/intensity/2026-03-02T00:00Z/2026-03-02T04:00Z"


async def test_half_hours_that_are_none_are_left_out(provider: Provider, client: Web):
    document = uk([143, 139])
    document["data"][0]["to"] = "2026-03-02T12:00Z"
    document["data"][1]["from"] = "later"
    provider.answers(document)
    answer = await UkCarbonIntensity(client, provider.url).fetch("GB", *WINDOW)
    assert (answer.series, reason(answer)) == (None, Reason.UNREADABLE)


# ENTSO-E


@pytest.fixture
def entsoe(provider: Provider, client: Web, key: KeyFile) -> Entsoe:
    return Entsoe(client, key, provider.url)


async def test_the_mix_is_weighed_by_its_factors(provider: Provider, entsoe: Entsoe):
    provider.answers(generation({"B14": [600, 0], "B05": [400, 500], "B16": [0, 500]}))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert values(answer) == pytest.approx([0.6 * 12 + 0.4 * 820, 0.5 * 820 + 0.5 * 48])
    query = provider.asked[0].query
    assert (query["documentType"], query["processType"], query["in_Domain"]) == ("A75", "A16", EIC)
    assert (query["periodStart"], query["periodEnd"]) == ("202603020000", "202603020400")


async def test_quarter_hours_become_hours_when_all_four_are_there(provider: Provider, entsoe: Entsoe):
    quarters = {"B04": [100, 200, 300, 400, 100, 200], "B14": [250] * 6}
    provider.answers(generation(quarters, resolution="PT15M", step_s=900))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert values(answer) == pytest.approx([(490 + 12) / 2])
    assert reason(answer) is Reason.GAP


async def test_curves_that_leave_repeats_out(provider: Provider, entsoe: Entsoe):
    provider.answers(generation({"B04": [100, None, None], "B14": [100, 300, None]}, curve="A03"))
    assert values(await entsoe.fetch(EIC, *WINDOW)) == pytest.approx([251, 131.5, 131.5])
    provider.answers(generation({"B04": [100, None, 100], "B14": [100, 300, 100]}, curve="A01"))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert answer.series is not None
    assert answer.series.at(START_S + 3600) == Missing(Reason.GAP)


async def test_an_hour_without_one_of_the_types_is_a_gap(provider: Provider, entsoe: Entsoe):
    provider.answers(generation({"B05": [400, 400], "B19": [600]}))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert (len(values(answer)), reason(answer)) == (1, Reason.GAP)


async def test_a_type_that_is_given_twice_is_not_counted_twice(provider: Provider, entsoe: Entsoe):
    document = generation({"B05": [400], "B19": [600]})
    series = document[document.index("<TimeSeries>") : document.index("</TimeSeries>") + 13]
    provider.answers(document.replace("</GL_MarketDocument>", series + "</GL_MarketDocument>"))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert (answer.series, reason(answer)) == (None, Reason.GAP)


async def test_storage_and_consumption_do_not_count(provider: Provider, entsoe: Entsoe):
    document = generation({"B14": [500], "B10": [9000], "B25": [9000]})
    pumps = generation({"B10": [700], "B02": [800]}, direction="out")
    series = pumps[pumps.index("<TimeSeries>") : pumps.rindex("</TimeSeries>") + 13]
    provider.answers(document.replace("</GL_MarketDocument>", series + "</GL_MarketDocument>"))
    assert values(await entsoe.fetch(EIC, *WINDOW)) == [12]


@pytest.mark.parametrize(
    "document, expected",
    [
        (no_generation(), Reason.NOT_COVERED),
        (generation({"B99": [5]}), Reason.UNREADABLE),
        (generation({"B04": [5]}, unit="MWH"), Reason.WRONG_UNIT),
        (generation({"B04": [5]}, resolution="P1D"), Reason.UNREADABLE),
        (generation({"B04": [0]}), Reason.GAP),
        (generation({"B04": [-5]}), Reason.ABSURD),
        (generation({"B04": ["1e9"]}), Reason.ABSURD),
        (generation({"B04": ["NaN"]}), Reason.NOT_A_NUMBER),
        (generation({"B04": []}), Reason.UNREADABLE),
        (generation({"B04": [5]}).replace("<position>1", "<position>2"), Reason.UNREADABLE),
        (generation({"B04": [5]}).replace("<position>1", "<position>-1"), Reason.UNREADABLE),
        (generation({"B04": [5]}).replace("T01:00Z", "T00:00Z"), Reason.UNREADABLE),
        (generation({"B04": [5]}).replace("2026-03-02T01", "9026-03-02T01"), Reason.UNREADABLE),
        (generation({"B04": [5]})[:-20], Reason.UNREADABLE),
    ],
)
async def test_documents_without_a_sound_mix(
    provider: Provider, entsoe: Entsoe, document: str, expected: Reason
):
    provider.answers(document)
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert (answer.series, reason(answer)) == (None, expected)


@pytest.mark.parametrize(
    "bad, expected", [(-3, Reason.ABSURD), ("N/A", Reason.NOT_A_NUMBER), ("", Reason.NOT_A_NUMBER)]
)
async def test_a_point_that_cannot_be_read_costs_its_own_hour(
    provider: Provider, entsoe: Entsoe, bad: object, expected: Reason
):
    provider.answers(generation({"B04": [1000] * 4, "B20": [10, bad, 10, 10]}))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert answer.series is not None
    assert [isinstance(each, Missing) for _, each in answer.series.readings()] == [False, True, False, False]
    assert (reason(answer), answer.refused) == (expected, 1)


async def test_in_a_curve_that_leaves_repeats_out_a_bad_point_counts_until_the_next(
    provider: Provider, entsoe: Entsoe
):
    provider.answers(generation({"B04": [1000] * 4, "B20": [10, -3, None, 10]}, curve="A03"))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert answer.series is not None
    assert [isinstance(each, Missing) for _, each in answer.series.readings()] == [False, True, True, False]


async def test_a_point_without_a_place_hides_what_it_may_have_changed(provider: Provider, entsoe: Entsoe):
    document = generation({"B04": [1000] * 3, "B20": [10, 10, 10]})
    provider.answers("<position>77".join(document.rsplit("<position>2", 1)))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert answer.series is not None
    assert int(answer.series.present.sum()) == 2, "each point counts for its own hour"
    assert answer.refused == 1
    document = document.replace(">A01</curveType>", ">A03</curveType>")
    provider.answers("<position>77".join(document.rsplit("<position>2", 1)))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert (answer.series, answer.refused) == (None, 1)


async def test_a_period_that_cannot_be_read_costs_its_own_hours(provider: Provider, entsoe: Entsoe):
    good, bad = (
        generation({"B04": [100, 100]}),
        generation({"B04": [7]}, resolution="P1D", start_s=START_S + 7200),
    )
    period = bad[bad.index("<Period>") : bad.index("</Period>") + 9]
    provider.answers(good.replace("</Period>", "</Period>" + period))
    answer = await entsoe.fetch(EIC, *WINDOW)
    assert (len(values(answer)), answer.refused, reason(answer)) == (2, 1, Reason.UNREADABLE)


async def test_a_life_cycle_intensity_of_zero_is_no_data(provider: Provider, client: Web, key: KeyFile):
    provider.answers(electricity_maps("XX", [0, 300]))
    maps = ElectricityMaps(client, key, provider.url, wall=lambda: START_S + 7200)
    assert values(await maps.fetch("XX", *WINDOW)) == [300]
    provider.answers(electricity_maps("XX", [0, 300], emissionFactorType="direct"))
    direct = ElectricityMaps(client, key, provider.url, direct=True, wall=lambda: START_S + 7200)
    assert values(await direct.fetch("XX", *WINDOW)) == [0, 300], "some plants burn nothing"


async def test_factors_can_be_overridden(provider: Provider, client: Web, key: KeyFile):
    provider.answers(generation({"B02": [5]}))
    answer = await Entsoe(client, key, provider.url, {"B02": 1050}).fetch(EIC, *WINDOW)
    assert values(answer) == [1050]


def test_every_generation_type_has_a_factor_or_is_storage():
    types = {f"B{number:02d}" for number in range(1, 21)} | {"B25"}
    assert set(FACTORS_G_PER_KWH) | STORAGE == types
    assert not set(FACTORS_G_PER_KWH) & STORAGE
