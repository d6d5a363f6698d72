"""docs/seed-claims.md is what its command makes, and says what is known about the guide's numbers."""

from pathlib import Path

import pytest

from loadtest.seed_claims.__main__ import POLICY, TARGET, main, page
from loadtest.seed_claims.claims import CLAIMS
from scaler.core.feasibility import Certificate, certify
from scaler.policyfile import load_policy


@pytest.fixture(scope="module")
def certificates() -> dict[str, Certificate]:
    policy = load_policy(POLICY.read_text(), file="examx.yaml", environment="production", env={})
    workers = policy.spec.workers
    return {claim.spike.name: certify(workers[claim.worker_class], claim.spike) for claim in CLAIMS}


def needed(certificate: Certificate) -> dict[str, float | None]:
    return {fix.kind: fix.needed for fix in certificate.fixes}


def test_the_committed_page_is_what_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["seed_claims", "--output", str(tmp_path / "page.md")])
    main()

    assert (tmp_path / "page.md").read_text() == page()
    assert TARGET.read_text() == page(), "run python -m loadtest.seed_claims"


def test_an_email_campaign_of_fast_mails_needs_no_pod(certificates: dict[str, Certificate]) -> None:
    """33 + 5 mails/s of 1.5 s are 58 of 200 slots."""
    found = certificates["email-1.5s"].outcome

    assert found.safe
    assert len(found.moves) == 1


def test_a_dump_of_mails_is_over_before_any_pod_starts(certificates: dict[str, Certificate]) -> None:
    """505/s for 20 s against 133/s, 192 idle slots and 5,000 places: about 2,250 are too many."""
    found = certificates["email-dump"]
    fixes = needed(found)

    assert found.outcome.rejected == pytest.approx(10_100 - 20 * 133.3 - 192.5 - 5000, abs=50)
    assert fixes["max"] is None
    # Two pods: 10,100 − 20 × 266.7 − 392 leave 4,375 waiting, for 17 s.
    assert fixes["warm"] == 2
    # 505 − 133 s of publishing fill 5,000 places in 38 s; that nobody waits for 30 s takes a few more.
    assert 38 < (fixes["spread"] or 0) < 46


def test_an_outage_asks_for_a_queue_that_holds_what_was_held_back(
    certificates: dict[str, Certificate],
) -> None:
    """38.3/s × 180 s are 6,900; free slots take 1,000 and some of it at once."""
    fix = next(fix for fix in certificates["email-outage"].fixes if fix.kind == "maxLength")

    assert certificates["email-outage"].outcome.rejected > 0
    assert 38.3 * 180 - 1000 - 500 < (fix.lossless or fix.needed or 0) < 38.3 * 180


def test_500_questions_take_15_minutes_up_to_18_seconds_each(certificates: dict[str, Certificate]) -> None:
    done = {
        seconds: (certificates[f"bulk-{seconds}s"].outcome.done_at or 0) - 300 for seconds in (16, 18, 20, 22)
    }

    assert done[16] < done[18] < 900 < done[20] < done[22]


def test_ten_times_the_mixed_load_needs_a_third_pod(certificates: dict[str, Certificate]) -> None:
    """12/s × 4 s are 48 slots of 32."""
    found = certificates["tenfold-mixed"]

    assert not found.safe
    assert needed(found)["max"] == 3


@pytest.mark.parametrize("name", ["surge-io", "surge-cpu", "surge-mixed", "tenfold-io", "tenfold-cpu"])
def test_the_other_surges_are_safe(certificates: dict[str, Certificate], name: str) -> None:
    assert certificates[name].safe
