"""Several values after one option."""

from scaler.cli.many import spread


def test_each_value_gets_the_options_name() -> None:
    assert spread(["simulate", "--assert", "late<1%", "rejected=0", "--output", "json"]) == [
        "simulate", "--assert", "late<1%", "--assert", "rejected=0", "--output", "json",
    ]  # fmt: skip


def test_repeated_options_and_others_stay_as_they_are() -> None:
    given = ["simulate", "--trace", "a.yaml", "--trace=b.yaml", "--out", "x", "--controller", "scaler"]
    assert spread(given) == given


def test_a_stray_word_after_another_option_stays_for_the_parser_to_refuse() -> None:
    assert spread(["simulate", "--output", "json", "stray"]) == ["simulate", "--output", "json", "stray"]
