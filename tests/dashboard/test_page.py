"""The dashboard in a browser: it loads offline, follows the cluster live, works by keyboard, on a phone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from extender.core.carbon.signal import Signal
from extender.core.events import CarbonSeen
from tests.cluster.apiserver import Object, node
from tests.service.cluster import Client, Cluster, driver, driver_config_map, executor, ready

PATIENCE_MS = 60_000
PICTURES = os.environ.get("DASHBOARD_PICTURES")
"""A directory to write screenshots to, for people who look at them."""


def grid_node(number: int, zone: str) -> Object:
    made = node(f"{zone.lower()}-{number:04d}")
    made["metadata"]["labels"] = {
        "carbon-scheduler/carbon-zone": zone,
        "topology.kubernetes.io/zone": f"{zone.lower()}-{number % 3}",
    }
    return made


def named(app: str, name: str) -> Object:
    made = driver(app)
    made["metadata"]["labels"]["spark-app-name"] = name
    return made


async def submit(cluster: Cluster, client: Client, app: str, executors: int, names: list[str]) -> str:
    cluster.put("configmaps", driver_config_map(app, executors))
    made = named(app, f"{app} report")
    cluster.put("pods", made)
    found = (await client.filter(made, names)).names
    if found:
        assert await client.bind(made, found[0]) == ""
    return found[0] if found else ""


@asynccontextmanager
async def page_of(browser: Any, url: str, path: str = "/", **options: Any) -> AsyncIterator[Any]:
    """A page whose errors, and requests to anywhere else, fail the test."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: None if asked.url.startswith(url) else problems.append(asked.url))
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(url + path)
    yield page
    await context.close()
    assert problems == []


async def picture(page: Any, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


async def says(page: Any, element: str, text: str | re.Pattern[str]) -> None:
    """Wait until an element of the page contains a text."""
    await _expect(page, element).to_contain_text(text, timeout=PATIENCE_MS)


async def counts(page: Any, selector: str, number: int) -> None:
    """Wait until so many elements match."""
    await _expect(page, selector).to_have_count(number, timeout=PATIENCE_MS)


async def shows(page: Any, element: str) -> None:
    """Wait until an element is visible."""
    await _expect(page, element).to_be_visible(timeout=PATIENCE_MS)


def _expect(page: Any, selector: str) -> Any:
    from playwright.async_api import expect

    return expect(page.locator(selector))


async def test_it_shows_the_cluster_and_follows_it(cluster: Cluster, browser: Any):
    names: list[str] = []
    for zone in ("DE", "FR"):
        for number in range(6):
            made = grid_node(number, zone)
            cluster.put("nodes", made)
            names.append(made["metadata"]["name"])
    async with ready(cluster) as (service, client):
        now = time.time()
        for zone, base in (("DE", 420.0), ("FR", 60.0)):
            forecast = tuple(base * (1 - 0.4 * (hour % 24 in range(9, 16))) for hour in range(48))
            signal = Signal(
                zone,
                now,
                base,
                forecast=forecast,
                forecast_start_s=now // 3600 * 3600,
                forecast_low=tuple(0.8 * each for each in forecast),
                forecast_high=tuple(1.2 * each for each in forecast),
            )
            service.engine.observe(CarbonSeen(signal), now)
        await submit(cluster, client, "alpha", 20, names)
        await submit(cluster, client, "beta", 500, names)
        async with page_of(browser, client.url, viewport={"width": 1280, "height": 900}) as page:
            await says(page, "#queue", "beta-driver")
            await says(page, "#gangs", "alpha report")
            await says(page, "#zones", "420 g/kWh now")
            await counts(page, "#zones svg", 2)
            await counts(page, "#zones polygon.band", 2)
            await says(page, "#queue", "refused: exceeds-cluster")
            await says(page, "#node", "12 nodes")
            await picture(page, "overview-light")
            # Live: a third application appears without a reload, and an executor is counted.
            await submit(cluster, client, "gamma", 60, names)
            await says(page, "#queue", "gamma-driver")
            cluster.put("pods", executor("alpha", 1))
            found = (await client.filter(executor("alpha", 1), names)).names
            assert found
            assert await client.bind(executor("alpha", 1), found[0]) == ""
            await says(page, "#gangs", "1 of 20")
            await page.emulate_media(color_scheme="dark")
            await picture(page, "overview-dark")
            # One page an application: its explanation.
            await page.click("#queue a:has-text('gamma-driver')")
            await says(page, "#explanation", "ask for")
            await counts(page, "#overview:visible", 0)
            assert await page.title() == "gamma-driver - carbon-scheduler"
            await picture(page, "explain-dark")


async def test_it_works_by_keyboard(cluster: Cluster, browser: Any):
    cluster.put("nodes", grid_node(0, "DE"))
    async with ready(cluster) as (_, client):
        for app in ("alpha", "beta"):
            await submit(cluster, client, app, 40, ["de-0000"])
        async with page_of(browser, client.url) as page:
            await says(page, "#queue", "beta-driver")
            await page.keyboard.press("j")
            await page.keyboard.press("j")
            await says(page, "tr.chosen", "beta-driver")
            await page.keyboard.press("Enter")
            await shows(page, "#application")
            await says(page, "#app-title", "beta-driver")
            await page.keyboard.press("Escape")
            await shows(page, "#overview")
            await page.keyboard.press("/")
            await page.keyboard.type("alpha")
            await counts(page, "#queue tbody tr", 1)
            await page.keyboard.press("Escape")
            await page.keyboard.press("t")
            assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
            await page.keyboard.press("?")
            await shows(page, "#keys")
            await page.keyboard.press("Escape")
            await page.focus("#map")
            await page.keyboard.press("ArrowRight")
            await says(page, "#node", "de-0000 in de-0: 0 % used")


async def test_5000_nodes_are_drawn(cluster: Cluster, browser: Any):
    for number in range(5000):
        cluster.put("nodes", grid_node(number, "DE"))
    async with ready(cluster) as (_, client):
        names = [f"de-{number:04d}" for number in range(5000)]
        await submit(cluster, client, "alpha", 9000, names)
        async with page_of(browser, client.url, viewport={"width": 1280, "height": 900}) as page:
            await says(page, "#node", "5000 nodes")
            await picture(page, "nodes-5000")
            drawn = await page.evaluate(
                """() => {
                    const c = document.getElementById("map"), seen = new Set();
                    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
                    for (let i = 0; i < d.length; i += 4) seen.add(`${d[i]},${d[i + 1]},${d[i + 2]}`);
                    return [c.clientHeight, seen.has("230,159,0")];
                }"""
            )
            assert drawn[0] < 700
            assert drawn[1], "no node shows reserved room"
            await page.focus("#map")
            for _ in range(3):
                await page.keyboard.press("ArrowDown")
            await says(page, "#node", re.compile(r"de-\d{4} in de-\d: "))


async def test_a_phone_needs_no_sideways_scrolling(cluster: Cluster, browser: Any):
    cluster.put("nodes", grid_node(0, "DE"))
    async with ready(cluster) as (_, client):
        await submit(
            cluster, client, "alpha-with-a-long-name-of-an-application-4f2c4f2c4f2c", 40, ["de-0000"]
        )
        async with page_of(browser, client.url, viewport={"width": 360, "height": 740}) as page:
            await says(page, "#queue", "4f2c4f2c4f2c-driver")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            await picture(page, "phone")
            await page.click("#queue a")
            await says(page, "#explanation", "refused for good")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            await picture(page, "phone-explain")


async def test_the_api_is_described_offline(cluster: Cluster, browser: Any):
    cluster.put("nodes", grid_node(0, "DE"))
    async with ready(cluster) as (_, client), page_of(browser, client.url, "/docs") as page:
        await page.click("summary:has-text('/v1/totals')")
        await picture(page, "docs")
        await page.click("details[open] button")
        await says(page, "details[open] pre:last-child", "200")
