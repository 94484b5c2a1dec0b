"""The service does what its OpenAPI document says, for any request: schemathesis, in the process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.carbon_api.support import Hand, replay_app

with tempfile.TemporaryDirectory() as directory:
    app = replay_app(Path(directory), Hand(), "2026-05-01T10:30:00+00:00", carbonscaler={"enabled": True})

schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@schema.parametrize()
@settings(max_examples=15, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_every_operation_keeps_its_promises(case: schemathesis.Case):
    # Which times a trace covers, no schema can say; so a sound request may be refused.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
