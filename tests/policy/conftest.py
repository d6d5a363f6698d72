"""A small valid policy, and how to ask what is wrong with one."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import pytest

from scaler.policyfile import Diagnostic, PolicyError, load_policy

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

SHOP = """\
apiVersion: scaler/v1
kind: ScalingPolicy
metadata: {name: shop}
spec:
  brokers:
    main: {url: "amqp://127.0.0.1:5672//"}
  workers:
    io:
      queues: [email, api]
      pool: gevent
      concurrency: 200
      acksLate: true
      prefetchMultiplier: 1
      serviceTime: 1.5s
      replicas: {min: 1, max: 5}
    cpu:
      queues: [reports]
      concurrency: 4
      acksLate: true
      serviceTime: 18s
      replicas: {max: 3}
  environments:
    production: {}
    uat:
      workers:
        io: {replicas: {max: 3}}
"""

Diagnose = Callable[..., tuple[Diagnostic, ...]]
Edit = Callable[..., str]


@pytest.fixture
def shop() -> str:
    """A valid policy with two classes and two environments."""
    return SHOP


@pytest.fixture
def edited() -> Edit:
    """The shop's policy with pairs of texts replaced, each of which must be there once."""

    def edit(*pairs: tuple[str, str]) -> str:
        text = SHOP
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text

    return edit


@pytest.fixture
def diagnose() -> Diagnose:
    """All faults of a policy; none is an empty tuple."""

    def ask(
        text: str | bytes, environment: str | None = None, env: Mapping[str, str] = NO_VARIABLES
    ) -> tuple[Diagnostic, ...]:
        try:
            load_policy(text, file="shop.yaml", environment=environment, env=env)
        except PolicyError as error:
            return error.diagnostics
        return ()

    return ask
