"""The flight recorder: bounded, rotated, readable after a crash, and without secrets."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scaler.core.decide import WorkerClass, decide
from scaler.core.observation import Counters, Observation, QueueReading
from scaler.core.policy import WorkerPolicy
from scaler.core.state import WorkerState
from scaler.runtime.recorder import Entry, FlightRecorder, RecorderError, policy_document, recording_files

NOW = 1_800_000_000.0
WORKER = WorkerPolicy.model_validate(
    {
        "queues": ("mail", "sms"),
        "concurrency": 10,
        "serviceTime": "1.5s",
        "startupTime": "1m30s",
        "replicas": {"min": 1, "max": 4},
        "limits": {"maxLength": 100, "messageTtl": "30m"},
    }
)
ENTRY = Entry(NOW, "shop", "mail", 2, 2, "drain", "none", "fresh", ready=7, running=3.0, waiting=7.0)


def lines(folder: Path) -> list[dict[str, object]]:
    texts = [file.read_text("utf-8") for file in recording_files(folder)]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def entries(folder: Path) -> list[Entry]:
    return [Entry.from_document(line) for line in lines(folder) if "recording" not in line]


def record(folder: Path, *moments: Entry, worker: WorkerPolicy = WORKER, **options: float) -> None:
    recorder = FlightRecorder(folder, **options)  # type: ignore[arg-type] # sizes are given as they are
    recorder.start()
    for entry in moments:
        recorder.write_entry(entry, worker)
    recorder.stop()


def later(*seconds: float) -> list[Entry]:
    return [replace(ENTRY, t=NOW + second) for second in seconds]


def test_an_entry_comes_back_as_it_was() -> None:
    assert Entry.from_document(json.loads(ENTRY.to_line())) == ENTRY


def test_a_tick_is_recorded_with_counters_of_all_queues(tmp_path: Path) -> None:
    readings = tuple(
        QueueReading(
            name, ready=5, unacked=1, consumers=2, counters=Counters(NOW - 3, published=100, acked=90)
        )
        for name in ("mail", "sms")
    )
    observation = Observation(NOW, readings)
    _, decision = decide(WorkerClass("shop", "mail", WORKER), WorkerState(), observation, NOW)
    recorder = FlightRecorder(tmp_path)
    recorder.start()
    recorder.write(WORKER, observation, decision)
    recorder.stop()

    (entry,) = entries(tmp_path)
    assert (entry.t, entry.ready, entry.workers, entry.desired) == (NOW, 10, 2, decision.desired)
    assert (entry.published, entry.acked, entry.counted_at) == (200, 180, NOW - 3)


def test_the_policy_in_force_is_recorded_so_that_it_can_be_read_again(tmp_path: Path) -> None:
    record(tmp_path, ENTRY)

    header = lines(tmp_path)[0]
    assert WorkerPolicy.model_validate_json(json.dumps(header["worker"])) == WORKER
    assert policy_document(WORKER)["startupTime"] == "1m30s"


def test_a_changed_policy_is_recorded_anew(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path)
    recorder.start()
    for second, concurrency in ((0, 10), (5, 10), (10, 20)):
        recorder.write_entry(later(second)[0], WORKER.model_copy(update={"concurrency": concurrency}))
    recorder.stop()

    assert ["recording" in line for line in lines(tmp_path)] == [True, False, False, True, False]


def test_a_line_every_five_seconds_and_at_each_change(tmp_path: Path) -> None:
    up = replace(ENTRY, t=NOW + 2, desired=3)
    record(tmp_path, ENTRY, *later(1), up, replace(up, t=NOW + 3), replace(up, t=NOW + 7))

    assert [entry.t - NOW for entry in entries(tmp_path)] == [0, 2, 7]


def test_files_are_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    record(tmp_path, *later(*range(0, 1000, 5)), files=3, bytes_per_file=4000)

    files = recording_files(tmp_path)
    assert len(files) == 3
    assert files[0].name != "recording-000001.jsonl"
    assert all(file.stat().st_size <= 4000 for file in files)
    # Each file can be replayed alone: it begins with the policy.
    assert all("recording" in json.loads(file.read_text().splitlines()[0]) for file in files)
    moments = [entry.t for entry in entries(tmp_path)]
    assert moments == sorted(moments)
    assert moments[-1] == NOW + 995


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    record(tmp_path, ENTRY)
    record(tmp_path, *later(60))

    assert [file.name for file in recording_files(tmp_path)] == ["recording-000001.jsonl"]
    assert len(entries(tmp_path)) == 2


def test_a_torn_last_line_costs_that_line_only(tmp_path: Path) -> None:
    record(tmp_path, *later(0, 5))
    (file,) = recording_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    record(tmp_path, *later(60))

    good = [line for line in file.read_text().splitlines() if line.endswith("}")]
    assert json.loads(good[-1])["t"] == NOW + 60
    assert len(good) == 4  # policy, entry, policy, entry


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RecorderError, match=r"can't record into .*file"):
        FlightRecorder(tmp_path / "file").start()


def test_a_disk_that_fails_costs_lines_and_never_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recording"
    recorder = FlightRecorder(folder)
    recorder.start()
    original: Callable[..., object] = Path.open
    broken = True

    def open_or_fail(self: Path, *options: object, **more: object) -> object:
        if broken and self.parent == folder:
            raise OSError(28, "No space left on device")
        return original(self, *options, **more)

    monkeypatch.setattr(Path, "open", open_or_fail)
    recorder.write_entry(ENTRY, WORKER)
    while recorder._lines.qsize():
        pass
    recorder.stop()
    broken = False
    record(folder, *later(60))

    assert [entry.t for entry in entries(folder)] == [NOW + 60]


def test_numbers_that_are_not_finite_are_no_entry() -> None:
    document = json.loads(ENTRY.to_line()) | {"running": float("inf")}

    with pytest.raises(ValueError, match="finite"):
        Entry.from_document(document)


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "recording-notes.jsonl").write_text("mine")
    record(tmp_path, *later(*range(0, 500, 5)), files=1, bytes_per_file=2000)

    assert (tmp_path / "recording-notes.jsonl").read_text() == "mine"
    assert len(recording_files(tmp_path)) == 1
