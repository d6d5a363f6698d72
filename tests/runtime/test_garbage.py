"""What a long-lived service does with circles of objects that nobody needs any more."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from weakref import ref

import pytest

from scaler.runtime import garbage
from scaler.runtime.board import Board, Snapshot
from scaler.runtime.garbage import Caretaker

T0 = 1_800_000_000.0


class Knot:
    """Refers to itself, so that only a collection can end it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def python_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*garbage.THRESHOLDS)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def aged(knots: int) -> "ref[Knot]":
    """Garbage that has outlived the young generations."""
    made = [Knot() for _ in range(knots)]
    gc.collect(0)
    gc.collect(1)
    return ref(made[-1])


def test_old_garbage_is_looked_for_once_a_minute_and_only_where_there_is_enough() -> None:
    now, snapshot = T0, Snapshot(policies={})
    caretaker = Caretaker(Board(), lambda: now)

    def at(seconds: float) -> None:
        nonlocal now
        now = T0 + seconds
        caretaker.look(snapshot)

    for seconds in (0, *garbage.SETTLING_SECONDS):
        at(seconds)
    at(60)
    little = aged(garbage.GROWTH // 20)
    at(120)
    assert little() is not None, "it isn't worth a pause"
    much = aged(2 * garbage.GROWTH)
    at(179)
    assert much() is not None
    at(180)
    assert much() is None
    assert little() is None


def test_what_lives_as_long_as_the_policies_is_set_aside_while_they_settle() -> None:
    now, snapshot, early = T0, Snapshot(policies={}), Knot()
    caretaker = Caretaker(Board(), lambda: now)

    def looked_at(knot: Knot) -> bool:
        return any(one is knot for one in gc.get_objects())

    caretaker.look(snapshot)
    assert looked_at(early)
    for seconds in garbage.SETTLING_SECONDS:
        now = T0 + seconds
        caretaker.look(snapshot)
        assert not looked_at(early)
    late = Knot()
    now += 1000
    caretaker.look(snapshot)
    assert looked_at(late), "by the clock alone nothing is set aside: it may become garbage"
    changed = replace(snapshot, policies={})
    for seconds in (0, garbage.SETTLING_SECONDS[0]):
        now += seconds
        caretaker.look(changed)
    assert not looked_at(late)
