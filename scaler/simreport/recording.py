"""Reads what `serve --record` and `record` wrote; what a crash tore is passed over and counted."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scaler.core.policy import WorkerPolicy
from scaler.runtime.recorder import FORMAT, Entry, recording_files

#: Two entries at least: one moment is no course.
_LEAST = 2


class RecordingError(Exception):
    """There is nothing to replay; the text names the file and the remedy."""


@dataclass(slots=True)
class Track:
    """One worker class over time."""

    policy: str
    worker_class: str
    #: In the order of time, each moment once.
    entries: list[Entry] = field(default_factory=list)
    #: The policy that was in force last; None where the recording doesn't hold one.
    worker: WorkerPolicy | None = None
    #: Policies that were in force one after the other.
    policies: int = 0
    #: Lines of the whole recording that can't be read.
    torn: int = 0


def read_recording(path: Path) -> list[Track]:
    """The classes in a recording, by their names.

    Args:
        path: a file, or the folder that a service recorded into.

    Raises:
        RecordingError: it can't be read or holds too little.
    """
    tracks: dict[tuple[str, str], Track] = {}
    torn = 0
    for file, number, line in _lines(path):
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                raise TypeError  # noqa: TRY301 - the same as a line that is no JSON
            _take(tracks, document)
        except (ValueError, TypeError, KeyError):
            torn += 1
        except _NewerError as error:
            raise RecordingError(f"{file}:{number}: {error}") from None
    found = [track for track in tracks.values() if len(track.entries) >= _LEAST]
    if not found:
        what = f" ({torn} lines can't be read)" if torn else ""
        raise RecordingError(
            f"{path} holds no recording that can be replayed{what};"
            " name a folder of `serve --record` or a file of `record`"
        )
    for track in found:
        track.entries = sorted(
            {entry.t: entry for entry in track.entries}.values(), key=lambda entry: entry.t
        )
        track.torn = torn
    return sorted(found, key=lambda track: (track.policy, track.worker_class))


class _NewerError(Exception):
    """The file is of a later version of this program."""


def _lines(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    try:
        for file in recording_files(path) if path.is_dir() else [path]:
            with file.open("rb") as stream:
                yield from ((file, number, line) for number, line in enumerate(stream, 1) if line.strip())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise RecordingError(f"{path} can't be read: {reason}; check path and permissions") from error


def _take(tracks: dict[tuple[str, str], Track], document: dict[str, Any]) -> None:
    key = (str(document["policy"]), str(document["workerClass"]))
    track = tracks.setdefault(key, Track(*key))
    if "recording" not in document:
        track.entries.append(Entry.from_document(document))
        return
    if document["recording"] != FORMAT:
        message = (
            f"format {document['recording']!r} is not {FORMAT}; replay it with the version that wrote it"
        )
        raise _NewerError(message)
    if document["worker"] is None:
        return
    try:
        worker = WorkerPolicy.model_validate_json(json.dumps(document["worker"]))
    except ValidationError:
        return  # written by another version; a replay may still name its own policy
    track.policies += worker != track.worker
    track.worker = worker
