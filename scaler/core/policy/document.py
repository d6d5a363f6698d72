"""The whole document: brokers, worker classes, priorities, and the rules between them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from scaler.core.policy.operations import Alerts, Breakers
from scaler.core.policy.values import Model, Name, fault, unique
from scaler.core.policy.worker import WorkerPolicy

#: kombu's own names for the two brokers that can be read.
BROKER_SCHEMES = ("amqp", "amqps", "redis", "rediss", "sentinel")


class Metadata(Model):
    """Names the policy; ScaledObjects refer to it."""

    name: Name


class Broker(Model):
    """Where the queues are. The URL holds the password, so it is a secret everywhere."""

    url: SecretStr | None = None
    #: A file that holds the URL (a mounted secret); read again at every connection.
    url_file: str | None = None
    management_url: SecretStr | None = None
    #: Redis: kombu's transport options of the same meaning.
    global_keyprefix: str = ""
    priority_steps: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)] = (
        0,
        3,
        6,
        9,
    )
    sep: str = "\x06\x16"
    master_name: str | None = None
    #: TLS: CA bundle and client certificate, PEM files.
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise fault("broker", "a broker needs either url or urlFile; write one of them")
        if self.url is not None:
            scheme = self.url.get_secret_value().partition("://")[0]
            if scheme not in BROKER_SCHEMES:
                raise fault(
                    "scheme",
                    "broker url starts with {scheme}, which can't be read; write one of {known}://…",
                    scheme=repr(scheme[:20]),
                    known=", ".join(BROKER_SCHEMES),
                )
            if scheme == "sentinel" and not self.master_name:
                raise fault("sentinel", "a sentinel url needs masterName; write masterName: mymaster")
        unique(self.priority_steps, "priority step")
        return self


class Spec(Model):
    """Brokers and worker classes of one policy, after its environment was laid over it."""

    brokers: Annotated[dict[Name, Broker], Field(min_length=1)]
    workers: Annotated[dict[Name, WorkerPolicy], Field(min_length=1)]
    priorities: dict[Name, Annotated[int, Field(ge=0, le=9)]] = Field(default_factory=dict)
    alerts: Alerts = Alerts()
    breakers: Breakers = Breakers()
    environments: dict[Name, dict[str, Any]] = Field(default_factory=dict)

    def broker_of(self, worker_class: str) -> str:
        """Name of the broker that holds the queues of a class."""
        return self.workers[worker_class].broker or next(iter(self.brokers))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        owners: dict[tuple[str, str], str] = {}
        for name, worker in self.workers.items():
            if worker.broker is None and len(self.brokers) > 1:
                raise fault(
                    "broker",
                    "workers.{name} names no broker and there are several; write broker: one of {known}",
                    name=name,
                    known=", ".join(self.brokers),
                )
            broker = self.broker_of(name)
            if broker not in self.brokers:
                raise fault(
                    "broker",
                    "workers.{name} names the unknown broker {broker}; known: {known}",
                    name=name,
                    broker=repr(broker),
                    known=", ".join(self.brokers),
                )
            for queue in worker.queues:
                other = owners.setdefault((broker, queue), name)
                if other != name:
                    raise fault(
                        "shared_queue",
                        "workers.{name} and workers.{other} share the queue {queue}; its load can't be split:"
                        " remove it from one of them",
                        name=name,
                        other=other,
                        queue=repr(queue),
                    )
        return self


class ScalingPolicy(Model):
    """A policy file."""

    api_version: Literal["scaler/v1"]
    kind: Literal["ScalingPolicy"]
    metadata: Metadata
    spec: Spec
