"""Copies of one kind of object in one namespace, kept up to date by list and watch, or by asking again.

A watch lasts 50 s and is then opened anew at the version where it ended, so that a connection which is
dead without having said so (half-open) is noticed within a minute, and a load balancer that forgets
quiet connections does no harm. Only 410 Gone costs a new list; until it is complete the old copy stands.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

import structlog

from scaler.cluster.connection import Connection
from scaler.cluster.decoding import Document, decode_list, events
from scaler.cluster.errors import ClusterError, GoneError, RefusedError, error_of
from scaler.cluster.objects import name_of
from scaler.cluster.pace import Pace

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of object in a namespace."""

    #: "apis/apps/v1", "api/v1"
    group: str
    plural: str
    namespace: str

    @property
    def path(self) -> str:
        """Of its list."""
        return f"/{self.group}/namespaces/{self.namespace}/{self.plural}"

    @property
    def words(self) -> tuple[str, str]:
        """For messages: (plural, "namespace NAME")."""
        plural = "metrics" if self.group.startswith("apis/metrics") else self.plural
        return plural, f"namespace {self.namespace}"


class Copy(ABC, Generic[T]):
    """What was read last, by name. `found` changes with each event; `revision` counts the changes."""

    def __init__(
        self,
        connection: Connection,
        place: Place,
        take: Callable[[Document], T | None],
        clock: Callable[[], float],
        pace: Pace,
    ) -> None:
        """`take` cuts an object down to what is kept; None: it isn't kept."""
        self._connection = connection
        self._take = take
        self._clock = clock
        self._pace = pace
        self._failures = 0
        self.place = place
        self.found: dict[str, T] = {}
        self.revision = 0
        #: When the server was last heard of, once a whole list has been read.
        self.heard_at: float | None = None
        #: Why it can't be read now, with the remedy; empty when all is well.
        self.error = ""
        #: A person has to mend that.
        self.refused = False

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            began = self._clock()
            try:
                await self._round()
                pause = self._pause_after(self._clock() - began)
            except GoneError:
                self._forget_version()
                pause = self._next_retry()
            except ClusterError as error:
                self._failed(str(error), refused=isinstance(error, RefusedError))
                least = self._pace.refused if self.refused else self._next_retry()
                pause = max(error.retry_after, least)
            except Exception as error:  # a fault of ours must not end the loop; its text may hold anything
                log.exception("reading the cluster failed", what=self.place.plural)
                self._failed(f"internal error ({type(error).__name__})")
                self._forget_version()
                pause = self._pace.last_retry
            await asyncio.sleep(pause)

    @abstractmethod
    async def _round(self) -> None:
        """Read once, for as long as it goes well."""

    @abstractmethod
    def _pause_after(self, seconds: float) -> float:
        """Seconds until the next round after a good one."""

    def _forget_version(self) -> None:
        """Start with a new list."""

    async def _list(self, *, page: int) -> str:
        """Replace the copy by a new list, read in pages; returns its version."""
        found: dict[str, T] = {}

        def keep(document: Document) -> None:
            kept = self._take(document)
            if kept is not None:
                found[name_of(document)] = kept

        token = ""
        while True:
            query = {"limit": str(page)} | ({"continue": token} if token else {})
            text = await self._connection.read(
                self.place.path, query, place=self.place.words, silence=self._pace.silence
            )
            metadata = (await decode_list(text, keep)).get("metadata") or {}
            token = metadata.get("continue", "")
            if not token:
                break
        self.found = found
        self._heard()
        self.revision += 1
        return str(metadata.get("resourceVersion", ""))

    def _heard(self) -> None:
        self.heard_at = self._clock()
        if self.error:
            log.info("cluster is readable again", what=self.place.plural, namespace=self.place.namespace)
        self.error, self.refused = "", False

    def _failed(self, error: str, *, refused: bool = False) -> None:
        if error != self.error:
            log.warning(
                "cluster can't be read", what=self.place.plural, namespace=self.place.namespace, error=error
            )
        self.error, self.refused = error, refused

    def _next_retry(self) -> float:
        pace = self._pace
        delay = min(pace.last_retry, pace.first_retry * 2.0 ** min(self._failures, 10))
        self._failures += 1
        # Many services that lost the same server must not come back in step.
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Watched(Copy[T]):
    """A copy that follows the server's events."""

    #: As client-go: large enough for few round trips, small enough for an answer of 2 to 5 MB.
    PAGE = 500
    _version = ""

    def _forget_version(self) -> None:
        self._version = ""

    def _pause_after(self, seconds: float) -> float:
        if seconds < self._pace.steady:
            return self._next_retry()
        self._failures = 0
        return 0.0

    async def _round(self) -> None:
        if not self._version:
            self._version = await self._list(page=self.PAGE)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(self._pace.watch * random.uniform(0.8, 1.0)))),  # noqa: S311
        }
        place = self.place.words
        async with self._connection.stream(
            self.place.path, query, place=place, silence=self._pace.silence
        ) as content:
            self._heard()
            began = self._clock()
            async for event in events(content):
                self._apply(event)
                self._heard()
                if self._clock() - began > self._pace.steady:
                    self._failures = 0
        self._heard()

    def _apply(self, event: Document) -> None:
        kind, document = event.get("type"), event["object"]
        if kind == "ERROR":
            raise error_of(
                int(document.get("code", HTTPStatus.INTERNAL_SERVER_ERROR)), *self.place.words, None
            )
        self._version = str(document["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            return
        name, kept = name_of(document), None
        if kind != "DELETED":
            kept = self._take(document)
        if kept is not None:
            self.found[name] = kept
        else:
            self.found.pop(name, None)
        self.revision += 1


class Polled(Copy[T]):
    """A copy of what can't be watched."""

    #: metrics-server knows no pages.
    PAGE = 0

    def _pause_after(self, seconds: float) -> float:
        self._failures = 0
        return max(0.0, self._pace.poll * random.uniform(0.9, 1.0) - seconds)  # noqa: S311 - no secret

    async def _round(self) -> None:
        await self._list(page=self.PAGE)
