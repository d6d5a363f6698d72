"""Publish times and ETAs in messages, wherever applications and other autoscalers put them."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.sources.redis_message import Message, moment, parse_message

AT = 1_900_000_000.0
ISO = "2030-03-17T17:46:40+00:00"


def message(headers: dict[str, Any] | None = None, properties: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"body": "e30=", "headers": headers or {}, "properties": properties or {}}).encode()


@pytest.mark.parametrize(
    ("headers", "properties"),
    [
        ({}, {"published_at": AT}),  # Judoscale
        ({"published_at": AT}, {}),
        ({"published_at": AT * 1000}, {}),
        ({"published_at": str(AT)}, {}),
        ({"run_at": ISO}, {}),  # HireFire
        ({"run_at": ISO[:-6]}, {}),
        ({}, {"timestamp": int(AT)}),  # AMQP: whole seconds
        ({"run_at": ISO, "published_at": "soon"}, {"timestamp": 5}),
    ],
)
def test_a_publish_time_is_found_in_seconds(headers: dict[str, Any], properties: dict[str, Any]) -> None:
    assert parse_message(message(headers, properties)).published == AT


def test_the_more_precise_of_two_publish_times_wins() -> None:
    assert parse_message(message({}, {"timestamp": 1_900_000_000, "published_at": AT + 0.25})).published == (
        AT + 0.25
    )


@pytest.mark.parametrize("value", [None, True, -5, 0, "", "yesterday", [], 1e20, float("nan"), float("inf")])
def test_what_is_no_moment_is_none(value: object) -> None:
    assert moment(value) is None


def test_the_eta_of_task_protocol_1_is_in_the_body() -> None:
    task = {"task": "t", "id": "7", "args": [], "eta": ISO}
    body = base64.b64encode(json.dumps(task).encode()).decode()
    first = {"body": body, "content-type": "application/json", "headers": {}}
    encoded = {**first, "properties": {"body_encoding": "base64"}}
    plain = {**first, "body": json.dumps(task), "properties": {}}
    for form in (encoded, plain):
        assert parse_message(json.dumps(form).encode()).eta == AT
    assert parse_message(json.dumps({**encoded, "body": "%%%"}).encode()).eta is None


def test_a_message_that_was_given_back_says_so_and_keeps_its_tag() -> None:
    properties = {"delivery_tag": "abc", "delivery_info": {"redelivered": True}}
    assert parse_message(message({}, properties)) == Message(tag=b"abc", redelivered=True)


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_an_element_that_is_no_message_tells_nothing(element: bytes) -> None:
    assert parse_message(element) == Message()
