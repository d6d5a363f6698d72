"""`python -m loadtest.accuracy`: measure on real brokers, and write docs/accuracy.md."""

import argparse
import asyncio
import logging
import platform
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from loadtest.accuracy import report
from loadtest.accuracy.scenarios import Place, countdown, decomposition, service_times, waits
from scaler.testing.rabbitmq import Epmd, RabbitMQServer
from scaler.testing.servers import RedisServer

TARGET = Path("docs/accuracy.md")


@contextmanager
def brokers(folder: Path) -> Iterator[dict[str, tuple[str, str]]]:
    """(url, management url) of a RabbitMQ and a Redis of our own, by name."""
    for name in ("epmd", "rabbitmq", "redis"):
        (folder / name).mkdir()
    epmd, redis = Epmd(folder / "epmd"), RedisServer(folder / "redis")
    rabbitmq = RabbitMQServer(folder / "rabbitmq", epmd)
    try:
        redis.start()
        rabbitmq.start()
        vhost = rabbitmq.add_vhost("accuracy")
        # Of its own: tasks that the other's workers left behind would run here, under numbers used twice.
        bare = rabbitmq.add_vhost("accuracy-amqp")
        yield {
            "Redis": (redis.database(0).url, ""),
            "RabbitMQ": (vhost.url, vhost.management_url),
            "RabbitMQ without management": (bare.url, ""),
        }
    finally:
        rabbitmq.kill()
        redis.kill()
        epmd.stop()


def measure(seconds: float) -> dict[str, dict[str, Any]]:
    """Every scenario on every broker: results by scenario and broker."""
    scenarios: dict[str, Callable[[Place], Coroutine[Any, Any, Any]]] = {
        "decomposition": lambda place: decomposition(place, seconds),
        "waits": lambda place: waits(place, seconds),
        "service_times": lambda place: service_times(place, seconds),
        "countdown": lambda place: countdown(place, tasks=1500, watch=30),
    }
    results: dict[str, dict[str, Any]] = {name: {} for name in scenarios}
    with tempfile.TemporaryDirectory() as base, brokers(Path(base)) as found:
        for broker, (url, management) in found.items():
            for name, run in scenarios.items():
                if name == "countdown" and "without" in broker:
                    continue  # unacknowledged messages aren't seen there
                folder = Path(base) / f"{broker}-{name}".replace(" ", "-")
                folder.mkdir()
                print(f"{name} on {broker} …", flush=True)
                results[name][broker] = asyncio.run(run(Place(url, management, folder)))
                shutil.rmtree(folder)
    return results


def main() -> None:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement")
    parser.add_argument("--output", type=Path, default=TARGET, help="the document to write")
    options = parser.parse_args()
    # The engine's log lines would hide the progress.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    results = measure(options.seconds)
    machine = f"Python {platform.python_version()}, Celery {version('celery')}, kombu {version('kombu')}"
    options.output.write_text(report.document(results, machine, options.seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
