"""The layout of kombu in Redis, compared with kombu's own functions."""

# kombu has no annotations.
# mypy: disable-error-code="attr-defined, no-untyped-call"

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.redis import Channel
from kombu.transport.virtual.exchange import TopicExchange

from scaler.sources.kombu_redis import Envelope, parse_bindings, parse_envelope, queue_keys, route

WORDS = st.lists(st.sampled_from(["a", "b", "exam", "*", "#"]), min_size=1, max_size=4).map(".".join)
KEYS = st.lists(st.sampled_from(["a", "b", "exam", "7"]), min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(("steps", "separator"), [((0, 3, 6, 9), "\x06\x16"), (tuple(range(10)), ":")])
def test_the_keys_are_those_that_kombu_computes(steps: tuple[int, ...], separator: str) -> None:
    channel = object.__new__(Channel)
    channel.priority_steps = list(steps)
    channel.sep = separator
    theirs = {channel._q_for_pri("email", priority) for priority in range(10)}
    ours = queue_keys("email", steps, separator, prefix="")
    assert {key for _, key in ours} == theirs
    assert [step for step, _ in ours] == list(steps)


def test_the_prefix_is_put_before_each_key() -> None:
    assert queue_keys("email", (0, 3), ":", "exams.") == ((0, "exams.email"), (3, "exams.email:3"))


@given(pattern=WORDS, routing_key=KEYS)
def test_a_topic_binding_fits_exactly_when_kombu_says_so(pattern: str, routing_key: str) -> None:
    exchange = TopicExchange(channel=None)
    table = [exchange.prepare_bind("bound", "events", pattern, {})]
    expected = exchange.lookup(table, "events", routing_key, None) or {routing_key}
    assert set(route(Envelope("events", routing_key, None), table)) == expected


def test_a_message_copied_into_several_queues_belongs_to_each_of_them() -> None:
    bindings = (("orders", "", "billing"), ("orders", "", "archive"), ("other", "", "elsewhere"))
    assert route(Envelope("work", "orders", None), bindings) == ("archive", "billing")


def test_a_binding_that_kombu_could_not_have_written_is_left_out() -> None:
    members = [b"orders:::billing", b"orders", b"", b"\xff:^(:mail", b"a:b:c:d", b"mail::mail"]
    bindings = parse_bindings(members, ":")
    assert ("mail", "", "mail") in bindings
    assert route(Envelope("work", "x", None), bindings) == ("x",)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5) | st.binary()
)
def test_anything_in_the_hash_is_an_envelope_or_a_value_error(value: object) -> None:
    entry = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the contract
        parse_envelope(entry)
