"""No message shows a password that stands in a URL."""

from __future__ import annotations

import json
import logging
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.support.logs import JsonFormatter, TextFormatter
from extender.support.passwords import without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@db/books", "postgresql://***@db/books"),
        (
            "cannot open postgresql://me:se@cr/et@db:5432/books now",
            "cannot open postgresql://***@db:5432/books now",
        ),
        ("http://token@host/x", "http://***@host/x"),
        ("'s3://key:pass@bucket/logs' and 'http://a:b@c'", "'s3://***@bucket/logs' and 'http://***@c'"),
        ("postgresql://db/books?user=me&password=secret", "postgresql://db/books?user=me&password=***"),
        ("https://api/v3?auth_token=abc&zone=DE", "https://api/v3?auth_token=***&zone=DE"),
    ],
)
def test_credentials_are_masked(text: str, shown: str):
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://carbon:8430/v1/now",
        "s3://bucket/a@b",
        "mail me@example.org",
        "http://h:80/path@2",
        "no URL: a:b@c",
    ],
)
def test_what_is_no_credential_stays(text: str):
    assert without_passwords(text) == text


@given(st.text(string.ascii_letters + string.digits + "-._~!$&*+,;=:@%", min_size=1).map("SECRET{}".format))
def test_whatever_the_password(password: str):
    assert "SECRET" not in without_passwords(f"failed: postgresql://me:{password}@db:5432/books (refused)")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_log_lines_carry_none(formatter: logging.Formatter):
    try:
        raise ValueError("no answer from http://me:secret@host/")
    except ValueError as problem:
        cause = (type(problem), problem, problem.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "", 1, "asked %s", ("http://me:secret@host/",), cause)
    line = formatter.format(record)
    assert "secret" not in line
    assert "http://***@host/" in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["message"] == "asked http://***@host/"
