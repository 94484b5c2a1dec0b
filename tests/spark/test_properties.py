"""Java properties text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.properties import PropertiesError, parse_properties
from tests.spark.support import escaped

ALPHABET = "ab\\\\\\=:#! \t\f\n\r\u00e9u0041"
TRIMMED = "".join(chr(code) for code in range(0x21) if chr(code) not in "\r\n")
TEXTS = st.text(st.sampled_from(ALPHABET), max_size=40)


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("", {}),
        ("a=1\nb=2", {"a": "1", "b": "2"}),
        ("a=1\r\nb=2\rc=3\n", {"a": "1", "b": "2", "c": "3"}),
        ("a 1\nb\t2\nc:3\nd  =  4\ne\t:5", {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}),
        ("a", {"a": ""}),
        ("a==1\nb=:1", {"a": "=1", "b": ":1"}),
        ("  # comment\n! comment\n\n \t\f\n  a=1", {"a": "1"}),
        ("# a comment does not go on \\\na=1", {"a": "1"}),
        ("a=x\\\n   y\\\r\n\tz", {"a": "xyz"}),
        ("a=x\\\n# part of the value", {"a": "x# part of the value"}),
        ("a=x\\\\\nb=2", {"a": "x\\", "b": "2"}),
        ("a=x\\\n\nb=2", {"a": "x", "b": "2"}),
        ("a=x\\", {"a": "x"}),
        ("\\\n# a lone backslash begins nothing\na=1", {"a": "1"}),
        ("a\\ b\\=c\\:d=1", {"a b=c:d": "1"}),
        ("spark.master=k8s\\://https\\://host\\:6443", {"spark.master": "k8s://https://host:6443"}),
        ("a=\\t\\n\\r\\f\\q\\\\.", {"a": "\n\r\fq\\."}),
        ("\\u0061=\\u00e9\\uD83D\\uDE00", {"a": "é😀"}),
        ("a=\\ud83d!", {"a": "\ufffd!"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=trailing blanks \t ", {"a": "trailing blanks"}),
        ("=an entry without a key\n: too\n", {}),
    ],
)
def test_reads_as_java_and_spark_do(text: str, properties: dict[str, str]) -> None:
    assert parse_properties(text) == properties


@pytest.mark.parametrize("text", ["a=\\u12", "a=\\u12G4", "a=\\u", "\\uXYZW=1"])
def test_a_malformed_escape_is_an_error(text: str) -> None:
    with pytest.raises(PropertiesError, match="malformed escape"):
        parse_properties(text)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_is_written_is_read(properties: dict[str, str]) -> None:
    text = "\n".join(f"{escaped(key)}={escaped(value)}" for key, value in properties.items())
    assert parse_properties(text) == {key: value.strip(TRIMMED) for key, value in properties.items()}


@given(TEXTS)
def test_any_text_reads_as_the_state_machine_of_the_jdk(text: str) -> None:
    try:
        expected = jdk_load(text)
    except ValueError:
        with pytest.raises(PropertiesError):
            parse_properties(text)
        return
    expected.pop("", None)
    assert parse_properties(text) == {key: value.strip(TRIMMED) for key, value in expected.items()}


def jdk_load(text: str) -> dict[str, str]:
    """`Properties.load` character by character, in the structure of the JDK's own reader."""
    properties: dict[str, str] = {}
    for line in jdk_lines(text):
        key_length, value_start, separated, backslash = 0, len(line), False, False
        while key_length < len(line):
            character = line[key_length]
            if character in "=:" and not backslash:
                value_start, separated = key_length + 1, True
                break
            if character in " \t\f" and not backslash:
                value_start = key_length + 1
                break
            backslash = not backslash if character == "\\" else False
            key_length += 1
        while value_start < len(line):
            if line[value_start] not in " \t\f":
                if separated or line[value_start] not in "=:":
                    break
                separated = True
            value_start += 1
        properties[jdk_convert(line[:key_length])] = jdk_convert(line[value_start:])
    return properties


def jdk_lines(text: str) -> list[str]:
    lines: list[str] = []
    line, skip_blanks, appended, backslash, at = "", True, False, False, 0
    while at < len(text):
        character = text[at]
        at += 1
        if skip_blanks:
            if character in " \t\f" or (not appended and character in "\r\n"):
                continue
            skip_blanks = appended = False
        if not line and character in "#!":
            while at < len(text) and text[at] not in "\r\n":
                at += 1
            skip_blanks = True
        elif character not in "\r\n":
            line += character
            backslash = not backslash if character == "\\" else False
        elif not line:
            skip_blanks = True
        elif backslash:
            line, skip_blanks, appended, backslash = line[:-1], True, True, False
            if character == "\r" and text[at : at + 1] == "\n":
                at += 1
        else:
            lines.append(line)
            line, skip_blanks = "", True
    if line:
        lines.append(line[:-1] if backslash else line)
    return lines


def jdk_convert(text: str) -> str:
    out, at = "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if character != "\\":
            out += character
            continue
        character = text[at]
        at += 1
        if character == "u":
            digits = text[at : at + 4]
            if len(digits) < 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise ValueError(digits)
            out += chr(int(digits, 16))
            at += 4
        else:
            out += {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(character, character)
    return out
