"""The whole document: brokers, worker classes, priorities, and the rules between them."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from scaler.core.policy.operations import Alerts, Breakers
from scaler.core.policy.values import Model, Name, fault, refuse, repetitions
from scaler.core.policy.worker import WorkerPolicy

#: kombu's own names for the two brokers that can be read.
BROKER_SCHEMES = ("amqp", "amqps", "redis", "rediss", "sentinel")

#: RabbitMQ's management plugin speaks HTTP.
MANAGEMENT_SCHEMES = ("http", "https")


def _blank_is_absent(value: object) -> object:
    """An empty text means "not there", so that `${VAR:-}` can switch a key off."""
    return None if value == "" else value


OptionalText = Annotated[str | None, BeforeValidator(_blank_is_absent)]
#: A namespace of Kubernetes, in full. There are no patterns: `examx-*` would let in whoever may create a
#: namespace of such a name, and nobody could tell from the file who that is.
NamespaceName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_absent)]


class Metadata(Model):
    """Names the policy; ScaledObjects refer to it."""

    name: Name
    """What a ScaledObject writes as `policy`."""


class Broker(Model):
    """Where the queues are. The URL holds the password, so it is a secret everywhere."""

    url: OptionalSecret = None
    """As Celery's broker_url; the password comes from a variable."""
    url_file: OptionalText = None
    """A file that holds the URL (a mounted secret); read again at every connection."""
    management_url: OptionalSecret = None
    """RabbitMQ's HTTP API, which knows more than AMQP tells."""
    global_keyprefix: str = ""
    """Redis: kombu's transport option of the same meaning."""
    priority_steps: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)] = (
        0,
        3,
        6,
        9,
    )
    """Redis: kombu's transport option of the same meaning."""
    sep: str = "\x06\x16"
    """Redis: kombu's transport option of the same meaning."""
    master_name: OptionalText = None
    """Sentinel: the name of the master."""
    sentinel_username: OptionalText = None
    """Sentinel: the user at the sentinels themselves, where they ask for one."""
    sentinel_password: OptionalSecret = None
    """Sentinel: the password at the sentinels themselves; it comes from a variable."""
    ca_file: OptionalText = None
    """TLS: the CA bundle, a PEM file."""
    cert_file: OptionalText = None
    """TLS: the client certificate, a PEM file."""
    key_file: OptionalText = None
    """TLS: the key of the client certificate, a PEM file."""
    events: bool = True
    """Whether to listen to the events that Celery's workers send over this broker."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse([*self._addresses(), *repetitions(self.priority_steps, "priority step", ("prioritySteps",))])
        return self

    def _addresses(self) -> Iterator[PydanticCustomError]:
        if self.url is None and self.url_file is None:
            yield fault("broker", "a broker needs either url or urlFile; write one of them", ())
        if self.url is not None and self.url_file is not None:
            yield fault(
                "broker",
                "a broker needs either url or urlFile, not both; remove one of them",
                ("urlFile",),
                ("url",),
            )
        if self.url is not None:
            yield from _address(self.url, "url", BROKER_SCHEMES)
            if self.url.get_secret_value().startswith("sentinel:") and not self.master_name:
                yield fault(
                    "sentinel",
                    "a sentinel url needs masterName; write masterName: mymaster",
                    ("url",),
                    ("masterName",),
                )
        if self.management_url is not None:
            yield from _address(self.management_url, "managementUrl", MANAGEMENT_SCHEMES)


def _address(url: SecretStr, key: str, schemes: tuple[str, ...]) -> Iterator[PydanticCustomError]:
    """What is wrong with a URL, in words that repeat nothing of it but a scheme."""
    for part in url.get_secret_value().split(";"):  # kombu's alternates
        scheme, separator, rest = part.strip().partition("://")
        if not separator or scheme not in schemes:
            # A text without a scheme may be the bare password.
            readable = separator and re.fullmatch(r"[a-z][a-z0-9+.-]{0,19}", scheme)
            yield fault(
                "scheme",
                "{key} has {what}; write one of {known}://…",
                (key,),
                key=key,
                what=f"the unknown scheme {scheme}" if readable else "no scheme",
                known=", ".join(schemes),
            )
        elif not _has_readable_host(rest):
            yield fault(
                "address",
                "host or port of {key} can't be read; percent-encode the special characters of the password"
                " (/ as %2F, # as %23, @ as %40)",
                (key,),
                key=key,
            )


def _has_readable_host(rest: str) -> bool:
    """Whether the text behind `://` has an authority as in http, which is how kombu reads it."""
    try:
        parts = urlsplit(f"http://{rest}")
        port = parts.port
    except ValueError:
        return False
    return port != 0 and "@" not in parts.path


class Spec(Model):
    """Brokers and worker classes of one policy."""

    brokers: Annotated[dict[Name, Broker], Field(min_length=1)]
    """Where queues are, by name; the first is the one of classes that name none."""
    workers: Annotated[dict[Name, WorkerPolicy], Field(min_length=1)]
    """The worker classes, by name; ScaledObjects refer to them as `workerClass`."""
    namespaces: Annotated[tuple[NamespaceName, ...], Field(min_length=1)] = ()
    """The namespaces whose ScaledObjects may ask for this policy; without it all may."""
    priorities: dict[Name, Annotated[int, Field(ge=0, le=9)]] = Field(default_factory=dict)
    """Kinds of tasks and their priority: 9 runs first (RabbitMQ's order), 0 last."""
    alerts: Alerts = Alerts()
    """When somebody should be told."""
    breakers: Breakers = Breakers()
    """Circuit breakers of the application's databases."""
    # A loaded policy has their names only: the chosen one was laid over the spec already, and the
    # others may hold what must not get about.
    environments: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Overlays by name (--environment, SCALER_ENVIRONMENT), each a part of a spec."""

    def broker_of(self, worker_class: str) -> str:
        """Name of the broker that holds the queues of a class."""
        return self.workers[worker_class].broker or next(iter(self.brokers))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = repetitions(self.namespaces, "namespace", ("namespaces",))
        refuse([*self._unknown_brokers(), *self._shared_queues(), *twice])
        return self

    def _unknown_brokers(self) -> Iterator[PydanticCustomError]:
        for name, worker in self.workers.items():
            if worker.broker is None and len(self.brokers) > 1:
                yield fault(
                    "broker",
                    "workers.{name} names no broker and there are several; write broker: one of {known}",
                    ("workers", name, "broker"),
                    name=name,
                    known=", ".join(self.brokers),
                )
            elif self.broker_of(name) not in self.brokers:
                yield fault(
                    "broker",
                    "workers.{name} names the unknown broker {broker}; known: {known}",
                    ("workers", name, "broker"),
                    name=name,
                    broker=repr(worker.broker),
                    known=", ".join(self.brokers),
                )

    def _shared_queues(self) -> Iterator[PydanticCustomError]:
        owners: dict[tuple[str, str], tuple[str, int]] = {}
        for name, worker in self.workers.items():
            for index, queue in enumerate(worker.queues):
                other, position = owners.setdefault((self.broker_of(name), queue), (name, index))
                if other != name:
                    yield fault(
                        "shared_queue",
                        "workers.{name} and workers.{other} share the queue {queue}; its load can't be split:"
                        " remove it from one of them",
                        ("workers", name, "queues", index),
                        ("workers", other, "queues", position),
                        name=name,
                        other=other,
                        queue=repr(queue),
                    )


class ScalingPolicy(Model):
    """A policy file."""

    api_version: Literal["scaler/v1"]
    """The version of this format."""
    kind: Literal["ScalingPolicy"]
    """What this document is."""
    metadata: Metadata
    """Who it is."""
    spec: Spec
    """What it says."""
