"""Declaring a coming spike over HTTP: who, when, how big; and what comes of it."""

import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import astuple, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from aiohttp import web
from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from scaler.api.bearer import Bearer
from scaler.api.metadata import shortened
from scaler.core import announcement, arrivals
from scaler.core.announcement import Announcement
from scaler.core.policy.values import Model
from scaler.core.state import WorkerState
from scaler.runtime.board import Board, Key, Snapshot, UnknownClassError
from scaler.runtime.clock import Clock
from scaler.runtime.engine import Engine
from scaler.runtime.store import StoreError

log = structlog.get_logger(__name__)

#: Of one class; each is looked at in each tick.
MOST_ANNOUNCEMENTS = 50
#: Letters of `who` and `why`: they stand in explanations and logs.
MOST_LETTERS = 200

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _words(text: str) -> str:
    """One line that a terminal can show."""
    text = " ".join(text.split())
    if not text.isprintable():
        raise ValueError("it holds characters that can't be printed")
    return text


Words = Annotated[str, Field(max_length=MOST_LETTERS), AfterValidator(_words)]


class Declared(Model):
    """The body of a declaration."""

    worker_class: str
    policy: str | None = None
    begins: AwareDatetime
    until: AwareDatetime
    who: Words
    why: Words
    replicas: int | None = None
    rate: float | None = None
    tasks: int | None = None

    def announcement(self, now: float) -> Announcement:
        """As the core knows it.

        Raises:
            ValueError: it isn't consistent, or over at `now`; the text says why.
        """
        if self.until.timestamp() <= now:
            raise ValueError("the announcement is over already; check the date and the time zone")
        return Announcement(
            self.begins.timestamp(),
            self.until.timestamp(),
            self.who,
            self.why,
            min_replicas=self.replicas,
            rate=self.rate,
            tasks=self.tasks,
        )


class Announcements:
    """The handlers of /api/v1/announcements."""

    def __init__(self, engine: Engine, board: Board, clock: Clock, bearer: Bearer) -> None:
        self._engine = engine
        self._board = board
        self._clock = clock
        self._bearer = bearer

    async def show(self, request: web.Request) -> web.Response:
        """All that aren't over, the soonest first."""
        del request
        await self._engine.refresh_orders()
        now = self._clock()
        found = [
            (told, key)
            for key in self._engine.states
            if _loaded(self._board.snapshot, key)
            for told in announcement.current(self._engine.announced(key), now)
        ]
        found.sort(key=lambda pair: (pair[0].begins, pair[1]))
        documents = [self._document(key, told, now) for told, key in found]
        return web.json_response({"now": now, "announcements": documents})

    async def declare(self, request: web.Request) -> web.Response:
        """Take one in; the same one twice is one."""
        refusal = await self._bearer.refusal(request)
        if refusal is not None:
            return refusal
        now = self._clock()
        try:
            declared = Declared.model_validate_json(await request.read())
            told = declared.announcement(now)
            key = self._board.snapshot.find(
                shortened(declared.worker_class), declared.policy and shortened(declared.policy)
            )
        except ValidationError as error:
            return _error(400, "; ".join(_faults(error)))
        except ValueError as error:
            return _error(400, str(error))
        except UnknownClassError as error:
            return _error(404, str(error))
        return await self._change(key, told, now)

    async def _change(self, key: Key, told: Announcement, now: float) -> web.Response:
        await self._engine.refresh_orders()
        held = announcement.current(self._engine.announced(key), now)
        known = told in held
        document = self._document(key, told, now)
        if not known and len(held) >= MOST_ANNOUNCEMENTS:
            return _error(409, f"{key[1]} has {len(held)} announcements already; withdraw one")
        try:
            await self._engine.change(key, lambda state: _with(state, told))
        except StoreError as error:
            return _error(503, str(error))
        except UnknownClassError as error:
            return _error(404, str(error))
        if not known:
            log.info("announced", policy=key[0], worker_class=key[1], id=document["id"], what=str(told))
        return web.json_response(document, status=200 if known else 201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """Forget one; the pods that it brought go by the policy's scale-down rules."""
        refusal = await self._bearer.refusal(request)
        if refusal is not None:
            return refusal
        wanted = request.match_info["id"]
        await self._engine.refresh_orders()
        key = next(
            (
                key
                for key in self._engine.states
                if any(identity(key, told) == wanted for told in self._engine.announced(key))
            ),
            None,
        )
        if key is None:
            return _error(404, f"no announcement {shortened(wanted)!r}; GET /api/v1/announcements lists them")
        try:
            await self._engine.change(key, lambda state: _without(key, state, wanted))
        except StoreError as error:
            return _error(503, str(error))
        except UnknownClassError as error:
            return _error(404, str(error))
        log.info("announcement withdrawn", policy=key[0], worker_class=key[1], id=wanted)
        return web.json_response({"withdrawn": wanted})

    def _document(self, key: Key, told: Announcement, now: float) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": identity(key, told),
            "policy": key[0],
            "workerClass": key[1],
            "begins": _written(told.begins),
            "until": _written(told.until),
            "who": told.who,
            "why": told.why,
            "replicas": told.min_replicas,
            "rate": told.rate,
            "tasks": told.tasks,
        }
        return document | outlook(self._board.snapshot, self._engine.states, key, told, now)


def outlook(
    snapshot: Snapshot, states: Mapping[Key, WorkerState], key: Key, told: Announcement, now: float
) -> dict[str, Any]:
    """What an announcement comes to as things stand: pods, when they are ordered, what is wrong with it."""
    worker = snapshot.policies[key[0]].spec.workers[key[1]]
    decision, state = snapshot.decisions.get(key), states.get(key, WorkerState())
    # A blind decision tells no times.
    service_time = (decision.service_time if decision else 0.0) or worker.service_time
    waiting = decision.backlog[1] if decision and decision.backlog else 0
    found = announcement.plan(
        worker,
        told,
        history=state.history,
        pods=worker.replicas.min if state.desired is None else state.desired,
        load=arrivals.rate(state.arrivals, float(waiting), service_time).value * service_time,
        service_time=service_time,
        lead_time=(decision.lead_time if decision else 0.0) or worker.startup_time,
        now=now,
    )
    warnings = []
    if found.replicas > worker.replicas.max:
        warnings.append(
            f"asks for {found.replicas:.2f} pods, replicas.max is {worker.replicas.max}: raise it, or spread"
            " the tasks"
        )
    limit, pods = worker.limits.max_length, min(math.ceil(found.replicas), worker.replicas.max)
    if told.tasks is not None and limit is not None and told.tasks > limit + pods * worker.concurrency:
        warnings.append(
            f"{told.tasks} tasks at once are more than {limit} (maxLength) that may wait and"
            f" {pods * worker.concurrency} that start: spread them"
        )
    late = now - (told.begins - found.ahead)
    if late > 0 and now < told.begins:
        warnings.append(
            f"{found.ahead:.0f} s are needed to have all pods working, it begins in {told.begins - now:.0f} s"
        )
    return {
        "pods": round(found.replicas, 3),
        "sum": found.formula.removeprefix(f"{told}: "),
        "orderedFrom": _written(told.begins - found.ahead),
        "warnings": warnings,
    }


def identity(key: Key, told: Announcement) -> str:
    """The same for the same content and class, so that declaring it twice is declaring it once."""
    return hashlib.blake2b(repr((key, astuple(told))).encode(), digest_size=6).hexdigest()


def _loaded(snapshot: Snapshot, key: Key) -> bool:
    policy = snapshot.policies.get(key[0])
    return policy is not None and key[1] in policy.spec.workers


def _with(state: WorkerState, told: Announcement) -> WorkerState:
    """With one more; it may have come by way of another replica meanwhile."""
    known = told in state.announcements
    return state if known else replace(state, announcements=(*state.announcements, told))


def _without(key: Key, state: WorkerState, wanted: str) -> WorkerState:
    left = tuple(told for told in state.announcements if identity(key, told) != wanted)
    return replace(state, announcements=left)


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _faults(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, found['loc'])) or 'body'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False)
    ]


def _error(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)
