"""The promises about the readings, on real brokers with real workers and no instrumentation.

Each scenario runs all its classes side by side; `make accuracy` runs them longer and prints the figures.
"""

from pathlib import Path

import pytest

from loadtest.accuracy.scenarios import Place, countdown, decomposition, service_times, waits

#: Samples of a busy machine in CI may be late once; the published figures come from a longer run.
ALMOST_ALL = 0.9


@pytest.fixture(params=["redis", "rabbitmq"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty broker of each kind."""
    if request.param == "redis":
        return Place(request.getfixturevalue("redis_server").url, "", tmp_path)
    vhost = request.getfixturevalue("rabbitmq")
    return Place(vhost.url, vhost.management_url, tmp_path)


def is_redis(place: Place) -> bool:
    return place.url.startswith("redis")


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_running_and_waiting_are_as_stated(place: Place) -> None:
    measured = await decomposition(place, seconds=20)
    assert len(measured) == 12, "3 pools × late and early × prefetch 1 and 4"
    total = sum(running.samples for running, _ in measured.values())
    for kind in (0, 1):
        inside = sum(pair[kind].inside * pair[kind].samples for pair in measured.values())
        assert inside / total >= 0.99, measured
    for name, pair in measured.items():
        for shares in pair:
            assert shares.samples >= 15, name
            assert shares.inside >= ALMOST_ALL, (name, shares)
            assert shares.near >= ALMOST_ALL, (name, shares)
    if is_redis(place):
        assert all(running.width == 0 for name, (running, _) in measured.items() if "late-1" in name)
        assert all(waiting.width == 0 for name, (_, waiting) in measured.items() if "-1" in name)


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_the_oldest_task_is_as_old_as_stated(place: Place) -> None:
    period = place.interval if is_redis(place) else 5.0
    for pattern, errors in (await waits(place, seconds=32)).items():
        assert errors.samples >= 8, pattern
        assert errors.median <= period, (pattern, errors)
        assert errors.p99 <= 2 * period, (pattern, errors)
        assert errors.inside >= 0.9, (pattern, errors)


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_the_service_time_is_right_with_events_and_without(place: Place) -> None:
    for kind, found in (await service_times(place, seconds=35)).items():
        assert found.source != "policy", kind
        # RabbitMQ shows busy slots once a second: few looks at few busy slots are noisy, 1 ÷ √(m·t).
        noisy = kind == "sparse" and not is_redis(place)
        assert found.error <= (0.3 if noisy else 0.1), (kind, found)


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_eta_tasks_add_nothing_before_it_is_time(place: Place) -> None:
    found = await countdown(place, tasks=1500, watch=25)
    assert found.far == found.before == 1
    assert found.near is not None
    assert 0 < found.near[0] <= 25, "startupTime 10 s and 10 s of margin, the rest for steps and readings"
