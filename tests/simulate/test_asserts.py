"""Assertions mean what they say, and those that mean nothing are refused with their place."""

from collections.abc import Callable
from typing import Any

import pytest

from scaler.simreport.asserts import AssertionTextError, check, parse_assertions
from scaler.simreport.runs import Run

CONTROLLERS = ("scaler", "keda-rabbitmq-20")
MakeRun = Callable[..., Run]


def passes(text: str, *runs: Run) -> bool:
    verdicts = check(parse_assertions([text], CONTROLLERS), runs)
    assert verdicts
    return all(verdict.holds for verdict in verdicts)


def refusal(*texts: str) -> str:
    with pytest.raises(AssertionTextError) as caught:
        parse_assertions(texts, CONTROLLERS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        # 6 of 600 are 1 %.
        ("late<1%", False),
        ("late<=1%", True),
        ("late=1%", True),
        ("late!=1%", False),
        ("late<7", True),
        ("late<6", False),
        (" late <= 6 ", True),
        ("rejected=0", False),
        ("rejected==12", True),
        ("rejected>2%", False),
        ("rejected>=2%", True),
        ("completed>=98%", True),
        ("completed>98%", False),
        ("expired=0", True),
        ("killed=0", True),
        ("lost=0", True),
        ("unfinished=0", True),
        ("p50<=500ms", True),
        ("p50<500ms", False),
        ("p95<12.3s", True),
        ("p99<0.5m", True),
        ("maxWait<1m", False),
        ("maxWait<=1.1m", True),
        ("maxWait<0.02h", True),
        ("podMinutes<20.5", False),
        ("podMinutes<=20.5", True),
        ("scaleUps=2", True),
        ("scaleDowns<1", False),
        ("maxBacklog<=140", True),
        ("offered=600", True),
    ],
)
def test_values_are_compared_in_their_units(make_run: MakeRun, text: str, holds: bool) -> None:
    assert passes(text, make_run()) is holds


def test_without_a_controller_only_our_own_run_is_meant(make_run: MakeRun) -> None:
    runs = [make_run("scaler", rejected=0), make_run("keda-rabbitmq-20", rejected=9)]

    assert passes("rejected=0", *runs)
    assert not passes("keda-rabbitmq-20: rejected=0", *runs)
    assert not passes("*: rejected=0", *runs)
    assert passes("scaler:rejected=0", *runs)


def test_every_run_is_meant_where_ours_is_not_among_them(make_run: MakeRun) -> None:
    assert not passes("rejected=0", make_run("keda-rabbitmq-20", rejected=1))


def test_an_assertion_is_about_every_trace(make_run: MakeRun) -> None:
    runs = [make_run(trace="a", rejected=0), make_run(trace="b", rejected=1)]

    assert [v.holds for v in check(parse_assertions(["rejected=0"], CONTROLLERS), runs)] == [True, False]


def test_a_trace_without_tasks_has_no_late_ones(make_run: MakeRun) -> None:
    assert passes("late<1%", make_run(offered=0, late=0))


def test_a_failure_names_the_claim_the_run_and_the_measured_value(make_run: MakeRun) -> None:
    (verdict,) = check(parse_assertions(["late<1%"], CONTROLLERS), [make_run()])

    expected = "FAILED: late<1% (trace campaign, class mail, scaler): late is 1.00 % (6 of 600 tasks)"
    assert verdict.sentence() == expected


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("lat<1%", 1, "did you mean 'late'?"),
        ("", 1, "a metric is missing"),
        ("<5", 1, "a metric is missing"),
        ("late", 5, "an operator is missing after late"),
        ("late~1%", 1, "unknown metric 'late~1%'"),
        ("late<", 6, "write late<1%"),
        ("p95<", 5, "write p95<30s"),
        ("late<one", 6, "a number is missing"),
        ("late<-1", 6, "late is never negative; write a number from 0 on"),
        ("rejected=-1", 10, "rejected is never negative; write a number from 0 on"),
        ("scaler: p95 >= -.5s", 16, "p95 is never negative"),
        ("rejected=--1", 10, "a number is missing"),
        ("late<1s", 7, "unknown unit 's'"),
        ("late<101%", 9, "more than all tasks"),
        ("p95<30", 7, "a wait needs a unit; write ms, s, m or h, such as 30s"),
        ("p95<30%", 7, "unknown unit '%'"),
        ("podMinutes<20m", 14, "plain number"),
        ("scaleUps<2%", 11, "plain number"),
        ("rejected<0", 10, "can never hold; write rejected=0"),
        ("rejected>=0", 11, "always holds"),
        ("late<=100%", 7, "always holds"),
        ("late>100%", 6, "can never hold"),
        ("rejected=1.5", 10, "can never hold; write a whole number"),
        ("keda: late<1%", 1, "no run has the controller 'keda'"),
        ("kedarabbitmq-20: late<1%", 1, "did you mean 'keda-rabbitmq-20'?"),
        ("late<1%<2", 7, "unknown unit '%<2'"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_its_place(text: str, column: int, says: str) -> None:
    message = refusal(text)

    assert message.startswith(f"--assert 1, column {column}: ")
    assert says in message
    assert message.splitlines()[1:] == [f"  {text}", "  " + " " * (column - 1) + "^"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("late<1%", "late>5%"),
        ("rejected=0", "rejected!=0"),
        ("p95<10s", "p95>=10s"),
        ("lost=1", "lost=2"),
        ("rejected>1", "rejected<2"),
        ("late=0", "late>1%"),
        ("late!=0%", "late<1"),
        ("late<=0.5", "late>0%"),
        ("late<5", "scaler: late>5"),
        ("*: late<5", "keda-rabbitmq-20: late>=5"),
        ("*: late<5", "late>=5"),
    ],
)
def test_claims_that_no_run_can_pass_together_are_refused(first: str, second: str) -> None:
    message = refusal("expired=0", first, second)

    assert message.startswith(f"--assert 3, column 1: contradicts --assert 2 ({first})")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("late<5%", "late>1%"),
        ("p95<=10s", "p95>=10s"),
        ("late<1%", "late>5"),
        ("late<1%", "keda-rabbitmq-20: late>5%"),
        ("p95!=1s", "p95!=2s"),
        ("rejected>=1", "rejected<2"),
        ("late<2", "late>0%"),
        ("late<5%", "keda-rabbitmq-20: late>=5%"),
    ],
)
def test_claims_that_can_hold_together_are_taken(first: str, second: str) -> None:
    assert len(parse_assertions([first, second], CONTROLLERS)) == 2


def test_the_second_of_several_is_named(make_run: MakeRun) -> None:
    del make_run
    assert refusal("late<1%", "p95<9").startswith("--assert 2, ")


def test_a_share_is_exact_where_floats_are_not(make_run: MakeRun) -> None:
    changes: dict[str, Any] = {"offered": 1000, "late": 3}
    assert passes("late=0.3%", make_run(**changes))
