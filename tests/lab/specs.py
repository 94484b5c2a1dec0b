"""Applications of a stream, read as the extender reads them."""

from __future__ import annotations

from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.lab.registry import encode
from extender.lab.spark import SparkApplication, config_maps, driver_pod
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod


def read(app: SparkApplication) -> GangSpec | SpecProblem:
    """What the service reads from what `spark-submit` posts for the application."""
    driver = driver_pod(app)
    driver["metadata"]["uid"] = "uid"
    leader = PodProjector(identify).facts(decode_pod(encode(driver)))
    maps = {each["metadata"]["name"]: each["data"] for each in config_maps(app, driver)}
    template = maps.get(leader.template_config_map) if leader.template_config_map else None
    assert leader.gang is not None
    assert leader.gang.app_id == app.app_id
    assert leader.requests == app.driver_requests
    return SpecReader().read(leader, maps[leader.config_map], template)
