"""A flight recorder: what was observed and decided, in files of bounded size, for `simulate --replay`.

JSON lines, because a crash can tear only the last one and because ops can read them with any
tool. A line per class every `every` seconds, and at each change of replicas or of the data's
quality; counts and times only, never a broker's address, a task's name or its arguments.

The deciding loop only hands lines over: a thread writes them, so that a disk that hangs or is
full costs lines (counted and logged) and never a decision.
"""

import json
import math
import queue
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self, get_args

import structlog
from pydantic import BaseModel
from pydantic.alias_generators import to_camel, to_snake

from scaler.core.decision import Decision
from scaler.core.observation import Observation
from scaler.core.policy import WorkerPolicy
from scaler.core.policy.values import format_duration, parse_duration

log = structlog.get_logger(__name__)

#: Three classes write about 15 MB a day: ten files keep a week.
FILES = 10
BYTES_PER_FILE = 10_000_000
#: As often as broker statistics change.
EVERY_SECONDS = 5.0
#: Version of the line format.
FORMAT = 1
#: Lines that wait for the disk, about 1 MB; further ones are dropped.
_MOST_WAITING = 4096
#: How long `stop` waits for the disk.
_STOP_SECONDS = 5.0
_NAME = re.compile(r"recording-([0-9]{6,})\.jsonl")


class RecorderError(Exception):
    """The folder can't be recorded into; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One class at one moment, as recorded. Times are seconds, None is unknown."""

    #: Seconds since the epoch.
    t: float
    policy: str
    worker_class: str
    desired: int
    recommendation: int
    winner: str
    limit: str
    quality: str
    #: Messages that wait in the broker, those that aren't due included.
    ready: int | None = None
    #: The best single numbers of due tasks that run and that wait.
    running: float | None = None
    waiting: float | None = None
    #: Age of the oldest waiting task, the least that is known.
    wait: float | None = None
    #: Workers that listen.
    workers: int | None = None
    service_time: float | None = None
    #: Whether the service time was measured (else it is the policy's prior).
    measured: bool = False
    lead_time: float | None = None
    #: Broker counters, all queues, and when they were true.
    published: int | None = None
    acked: int | None = None
    counted_at: float | None = None

    def to_line(self) -> str:
        """Compact JSON without what is unknown, and without a newline."""
        known = {to_camel(name): value for name, value in asdict(self).items() if value is not None}
        return json.dumps(known, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse; unknown keys are ignored.

        Raises:
            ValueError, TypeError: this is no entry.
        """
        names = cls.__dataclass_fields__
        entry = cls(**{name: value for key, value in document.items() if (name := to_snake(key)) in names})
        numbers = (entry.t, entry.desired, entry.running, entry.waiting, entry.service_time, entry.lead_time)
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise ValueError("a number is not finite")
        return entry


def entry_of(observation: Observation, decision: Decision) -> Entry:
    """What is recorded of a tick."""
    counters = [reading.counters for reading in observation.queues]
    published = _sum(count.published if count else None for count in counters)
    acked = _sum(count.acked if count else None for count in counters)
    running, waiting = decision.likely or (None, None)
    heard = None if observation.workers is None else len(observation.workers)
    return Entry(
        t=round(decision.decided_at, 3),
        policy=decision.policy,
        worker_class=decision.worker_class,
        desired=decision.desired,
        recommendation=decision.recommendation,
        winner=decision.winner,
        limit=decision.limit,
        quality=decision.quality,
        ready=decision.ready,
        running=_rounded(running),
        waiting=_rounded(waiting),
        wait=_rounded(decision.wait[0]) if decision.wait else None,
        workers=observation.consumers if observation.consumers is not None else heard,
        service_time=_rounded(decision.service_time) or None,
        measured=decision.service_source != "policy",
        lead_time=_rounded(decision.lead_time) or None,
        published=published,
        acked=acked,
        counted_at=max((round(count.at, 3) for count in counters if count), default=None),
    )


def policy_document(model: BaseModel) -> dict[str, Any]:
    """A part of a policy as it would be written in a file: camelCase, durations with units."""
    document: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None:
            continue
        # Of `Duration | None` the marks are on the first arm.
        arms = (getattr(arm, "__metadata__", ()) for arm in get_args(field.annotation))
        marks = [*field.metadata, *chain.from_iterable(arms)]
        duration = any(getattr(mark, "func", None) is parse_duration for mark in marks)
        document[field.alias or name] = format_duration(value) if duration else _plain(value)
    return document


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return policy_document(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


class FlightRecorder:
    """Writes ticks into a folder until stopped. `write` is for the event loop and never waits."""

    def __init__(
        self,
        directory: Path,
        *,
        files: int = FILES,
        bytes_per_file: int = BYTES_PER_FILE,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._directory = directory
        self._files = files
        self._bytes_per_file = bytes_per_file
        self._every = every
        self._latest: dict[tuple[str, str], Entry] = {}
        self._policies: dict[tuple[str, str], tuple[WorkerPolicy | None, str]] = {}
        self._lines: queue.Queue[tuple[str, str] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="flight recorder", daemon=True)
        self._dropped = 0

    def start(self) -> None:
        """Make the folder if need be, and begin to write.

        Raises:
            RecorderError: it can't be written to.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._files_now()
            probe = self._directory / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise RecorderError(f"can't record into {self._directory}: {reason}") from error
        self._thread.start()

    def write(self, worker: WorkerPolicy, observation: Observation, decision: Decision) -> None:
        """Record a tick, if it is time or something changed."""
        self.write_entry(entry_of(observation, decision), worker)

    def write_entry(self, entry: Entry, worker: WorkerPolicy | None = None) -> None:
        """The same for an entry that was made elsewhere; without a policy its replay needs one."""
        key = (entry.policy, entry.worker_class)
        before = self._latest.get(key)
        if before is not None and entry.t - before.t < self._every and _alike(before, entry):
            return
        if key not in self._policies or self._policies[key][0] != worker:
            self._policies[key] = (worker, _header(key, worker))
        try:
            self._lines.put_nowait((self._policies[key][1], entry.to_line()))
        except queue.Full:
            if not self._dropped:
                log.warning("the recording can't keep up; ticks are left out", directory=str(self._directory))
            self._dropped += 1
            return
        self._latest[key] = entry
        if self._dropped:
            log.info("recording goes on", left_out=self._dropped)
            self._dropped = 0

    def stop(self) -> None:
        """Write what waits, then end; a disk that hangs is left behind after some seconds."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=_STOP_SECONDS)
            except queue.Full:
                return
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        volume = _Volume(self._directory, self._bytes_per_file)
        failing = False
        while (item := self._lines.get()) is not None:
            try:
                if volume.append(*item):
                    self._trim()
            except OSError as error:
                if not failing:
                    reason = error.strerror or type(error).__name__
                    log.warning("recording fails", directory=str(self._directory), reason=reason)
                failing = True
            else:
                if failing:
                    log.info("recording works again")
                failing = False

    def _files_now(self) -> list[Path]:
        return recording_files(self._directory)

    def _trim(self) -> None:
        for file in self._files_now()[: -self._files]:
            file.unlink(missing_ok=True)


class _Volume:
    """The file that is appended to, and the next one when it is full."""

    def __init__(self, directory: Path, most: int) -> None:
        self._directory = directory
        self._most = most
        found = recording_files(directory)
        self._path = found[-1] if found else directory / "recording-000001.jsonl"
        #: Headers in the present file since this process writes to it.
        self._headers: set[str] = set()
        #: Whether the file may end within a line: a crash or a full disk left it so.
        self._torn = True

    def append(self, header: str, line: str) -> bool:
        """Append a line, behind its class's policy where the file lacks it; True if a file was begun."""
        size = self._path.stat().st_size if self._path.exists() else 0
        begun = size == 0
        if size and size + len(header) + len(line) > self._most:
            match = _NAME.fullmatch(self._path.name)
            number = int(match[1]) + 1 if match else 1
            self._path = self._directory / f"recording-{number:06}.jsonl"
            self._headers, self._torn, begun = set(), True, True
        text = line if header in self._headers else f"{header}\n{line}"
        with self._path.open("a+b", buffering=0) as stream:
            if self._torn and stream.tell() > 0:
                stream.seek(-1, 2)
                text = text if stream.read(1) == b"\n" else f"\n{text}"
            data = f"{text}\n".encode()
            self._torn = True
            if stream.write(data) == len(data):
                self._torn = False
                self._headers.add(header)
        return begun


def recording_files(directory: Path) -> list[Path]:
    """The files of a recording, the oldest first.

    Raises:
        OSError: the folder can't be read.
    """
    matches = [(match, path) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(matches, key=lambda item: int(item[0][1]))]


def _header(key: tuple[str, str], worker: WorkerPolicy | None) -> str:
    document = {
        "recording": FORMAT,
        "policy": key[0],
        "workerClass": key[1],
        "worker": None if worker is None else policy_document(worker),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def _alike(before: Entry, entry: Entry) -> bool:
    return (before.desired, before.quality) == (entry.desired, entry.quality)


def _sum(values: Iterable[int | None]) -> int | None:
    """The total, or None where one of the values, or every one, is unknown."""
    known = list(values)
    return None if not known or None in known else sum(value or 0 for value in known)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
