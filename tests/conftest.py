"""Real brokers for every test that asks for one: started once, each test in its own part of them.

`rabbitmq` and `redis_server` are shared and must keep running. `restartable_rabbitmq` and
`restartable_redis` are others that a test may kill, freeze and start again.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from scaler.testing.rabbitmq import RABBITMQ_SCRIPT, Epmd, RabbitMQServer, Vhost
from scaler.testing.servers import RedisDatabase, RedisServer, Server
from scaler.testing.tls import TlsDirectory, make_certificates

# A shell that runs the tests in the background lets them ignore SIGINT, and every child inherits that;
# tests that interrupt a child would then wait for ever. A handler here is the default in the children.
signal.signal(signal.SIGINT, signal.default_int_handler)

AnyServer = TypeVar("AnyServer", bound=Server)

#: These tests run real processes on the real clock: on a machine that stands still for some seconds a
#: deadline may pass although nothing is wrong. Each gets a second run, shown as RERUN in the summary;
#: what fails twice fails. The core and the policies have no clock and get none.
ON_THE_REAL_CLOCK = ("accuracy", "api", "cluster", "demo", "ha", "runtime", "service", "sources")

#: Redis databases and RabbitMQ virtual hosts of this run, so that no two tests share one.
_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say that the cluster of KUBECONFIG may be written to."""
    parser.addoption("--cluster", action="store_true", help="also run what needs a real cluster (KUBECONFIG)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what may be run a second time, and leave real clusters alone unless asked."""
    for item in items:
        if item.get_closest_marker("cluster") and not config.getoption("--cluster"):
            item.add_marker(pytest.mark.skip(reason="needs a real cluster: KUBECONFIG and --cluster"))
        if item.path.relative_to(Path(__file__).parent).parts[0] in ON_THE_REAL_CLOCK:
            item.add_marker(pytest.mark.flaky(reruns=1))


def _need(package: str, *, installed: bool) -> None:
    if installed:
        return
    message = f"{package} isn't installed: run scripts/install-services.sh (or apt-get install {package})"
    # On a laptop the rest of the tests is still worth running; CI must not be green without these.
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """The redis-server program; without it the test is skipped, in CI failed."""
    _need("redis-server", installed=shutil.which("redis-server") is not None)
    return "redis-server"


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's checker, from PATH or where scripts/install-services.sh puts it."""
    found = shutil.which("promtool", path=os.pathsep.join([os.environ["PATH"], ".stamps"]))
    if found is None:
        message = "promtool isn't installed: run scripts/install-services.sh --promtool"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def epmd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Epmd]:
    """Erlang's port mapper for the RabbitMQs of this run only."""
    _need("rabbitmq-server", installed=RABBITMQ_SCRIPT.exists() and shutil.which("epmd") is not None)
    mapper = Epmd(tmp_path_factory.mktemp("epmd"))
    yield mapper
    mapper.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TlsDirectory:
    """An authority, a server for 127.0.0.1 and a client."""
    _need("openssl", installed=shutil.which("openssl") is not None)
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def shared_rabbitmq(epmd: Epmd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    yield from _running(RabbitMQServer(tmp_path_factory.mktemp("rabbitmq"), epmd))


@pytest.fixture(scope="session")
def spare_rabbitmq(
    epmd: Epmd, certificates: TlsDirectory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitMQServer]:
    yield from _running(RabbitMQServer(tmp_path_factory.mktemp("rabbitmq-spare"), epmd, tls=certificates))


@pytest.fixture(scope="session")
def shared_redis(redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from _running(RedisServer(tmp_path_factory.mktemp("redis")))


def _running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
        yield server
    finally:
        # By force: nobody reads its data again, and RabbitMQ's goodbye takes 6 s.
        server.kill()


@pytest.fixture
def rabbitmq(shared_rabbitmq: RabbitMQServer) -> Vhost:
    """An empty virtual host: `url`, `management_url`, and the server."""
    return shared_rabbitmq.add_vhost(f"test-{next(_numbers)}")


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisDatabase:
    """An empty Redis database: `url`, and the server."""
    return shared_redis.database(next(_numbers))


@pytest.fixture
def restartable_rabbitmq(spare_rabbitmq: RabbitMQServer) -> Iterator[Vhost]:
    """An empty virtual host of a RabbitMQ that may be killed, paused and started; it speaks TLS too."""
    spare_rabbitmq.start()
    yield spare_rabbitmq.add_vhost(f"test-{next(_numbers)}")
    spare_rabbitmq.resume()


@pytest.fixture
def restartable_redis(redis_binary: str, tmp_path: Path) -> Iterator[RedisDatabase]:
    """An empty database of a Redis that may be killed, paused and started."""
    for server in _running(RedisServer(tmp_path / "redis")):
        yield server.database(0)
