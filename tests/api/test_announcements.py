"""Declaring a spike to a running service: over HTTP, and with `celery-scaler announce`."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from scaler.api.announcements import MOST_ANNOUNCEMENTS, Announcements
from scaler.api.bearer import Bearer
from scaler.api.http_server import HttpServer
from scaler.cli.announce import announce
from scaler.core.announcement import plan
from scaler.core.behavior import History
from scaler.core.decision import Decision
from scaler.core.policy.worker import Limits
from scaler.runtime.board import Board
from scaler.runtime.engine import Engine
from scaler.runtime.metrics import Metrics
from scaler.runtime.store import MemoryStore, StateStore, StoreError
from scaler.sources.memory import MemorySource
from scaler.testing import wait_until

#: 2027-01-15 08:00:00 UTC.
START = 1_800_000_000.0
TOKEN = "correct-horse-battery"
PATH = "/api/v1/announcements"

SPIKE = {
    "workerClass": "io",
    "begins": "2027-01-15T09:00:00Z",
    "until": "2027-01-15T10:30:00+01:00",
    "who": "mira",
    "why": "spring exams",
    "tasks": 90,
}

Run = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@dataclass
class Office:
    """A service with an engine whose time the test turns."""

    url: str
    engine: Engine
    board: Board
    store: StateStore
    token_file: Path
    now: float = START

    async def ask(self, method: str, path: str = PATH, body: Any = None, token: str | None = TOKEN) -> Any:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=data, headers=headers) as response,
        ):
            return response.status, await response.json()

    async def desired(self, at: float) -> int:
        """What is decided at that time, from a reading of that time."""
        self.now = at

        async def fresh() -> bool:
            await self.engine.turn()
            return self.decision.quality == "fresh"

        await wait_until(fresh, description="a fresh reading")
        return self.decision.desired

    @property
    def decision(self) -> Decision:
        return self.board.snapshot.decisions["examx", "io"]


@pytest.fixture
def store() -> StateStore:
    return MemoryStore()


@pytest.fixture
async def office(stage: Any, stack: AsyncExitStack, tmp_path: Path, store: StateStore) -> Office:
    board = Board()
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")

    def clock() -> float:
        return made.now

    engine = Engine(
        board=board,
        clock=clock,
        metrics=Metrics(),
        store=store,
        open_source=lambda _: MemorySource(),
        interval=0.02,
    )
    announcements = Announcements(engine, board, clock, Bearer(token_file))
    server = HttpServer(board, Metrics(), clock, "127.0.0.1:0", announcements)
    made = Office("", engine, board, store, token_file)
    await engine.apply(stage.policies)
    stack.push_async_callback(engine.close)
    await engine.turn()
    made.url = f"http://127.0.0.1:{await server.start()}"
    stack.push_async_callback(server.stop)
    return made


async def test_a_declared_spike_has_its_pods_before_it_begins_and_not_much_earlier(office: Office) -> None:
    """90 tasks × 10 s ÷ 30 s to start ÷ 10 slots = 3 pods."""
    status, told = await office.ask("POST", body=SPIKE)
    assert status == 201
    assert (told["begins"], told["until"]) == ("2027-01-15T09:00:00Z", "2027-01-15T09:30:00Z")
    assert told["sum"] == "(90 tasks × 10 s ÷ 30 s + 0 busy slots) ÷ 10 slots per pod = 3.00"
    assert (told["pods"], told["warnings"]) == (3.0, [])
    assert told["orderedFrom"] == "2027-01-15T08:58:45Z", "45 s to start, and 30 s to spare"
    assert await office.desired(START + 3524) == 1
    assert await office.desired(START + 3526) == 3
    (term,) = [term for term in office.decision.terms if term.name == "floor"]
    assert "announced by mira" in term.formula
    assert "spring exams" in term.formula


async def test_the_same_twice_is_one_and_one_that_is_over_is_gone(office: Office) -> None:
    first, again = await office.ask("POST", body=SPIKE), await office.ask("POST", body=SPIKE)
    assert (first[0], again[0]) == (201, 200)
    assert first[1]["id"] == again[1]["id"]
    listed = (await office.ask("GET", token=None))[1]["announcements"]
    assert [told["id"] for told in listed] == [first[1]["id"]]
    office.now = START + 5401
    assert (await office.ask("GET", token=None))[1]["announcements"] == []


async def test_the_same_for_two_classes_is_two(office: Office, stage: Any) -> None:
    stage.load(examx={"io": (1, 5), "cpu": (1, 5)})
    await office.engine.apply(stage.policies)
    await office.engine.turn()
    _, one = await office.ask("POST", body=SPIKE)
    _, two = await office.ask("POST", body=SPIKE | {"workerClass": "cpu"})
    await office.ask("DELETE", f"{PATH}/{two['id']}")
    (left,) = (await office.ask("GET"))[1]["announcements"]
    assert (left["workerClass"], left["id"]) == ("io", one["id"])


async def test_a_spike_that_has_begun_is_not_counted_on_top_of_itself(office: Office) -> None:
    """4/s × 10 s ÷ .85 ÷ 10 slots are 5 pods, of which the load shows all."""
    _, told = await office.ask("POST", body=SPIKE | {"tasks": None, "rate": 4.0})
    assert told["sum"].endswith("+ 0 busy slots: 5 pods")
    worker = office.board.snapshot.policies["examx"].spec.workers["io"]
    announced = office.engine.states["examx", "io"].announcements[0]

    def pods(now: float) -> float:
        times = {"service_time": 10.0, "lead_time": 45.0, "now": now}
        return plan(worker, announced, history=History(), pods=5, load=40.0, **times).replicas

    assert (pods(announced.begins - 1), pods(announced.begins)) == (10.0, 5.0)


async def test_a_class_that_cant_be_decided_keeps_its_replicas_and_announcements(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.ask("POST", body=SPIKE | {"replicas": 4})
    assert await office.desired(START + 3526) == 4

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as broken:
        broken.setattr("scaler.runtime.deciding.decide", fail)
        await office.engine.turn()
    assert office.engine.states["examx", "io"].desired == 4
    assert await office.desired(START + 5402) == 4, "no step down for a window, although it is over"


async def test_one_that_is_withdrawn_asks_for_nothing(office: Office) -> None:
    _, told = await office.ask("POST", body=SPIKE)
    assert (await office.ask("DELETE", f"{PATH}/{told['id']}"))[0] == 200
    assert await office.desired(START + 3526) == 1
    status, answer = await office.ask("DELETE", f"{PATH}/{told['id']}")
    assert status == 404
    assert "lists them" in answer["error"]


async def test_it_is_in_the_store_before_it_is_confirmed(office: Office) -> None:
    await office.ask("POST", body=SPIKE)
    saved = await office.store.read("orders")
    assert json.loads(saved.text)[0]["announcements"][0]["why"] == "spring exams"


async def test_what_cant_be_stored_is_not_confirmed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> str:
        raise StoreError("the state store can't be written (TimeoutError)")

    with monkeypatch.context() as broken:
        broken.setattr(office.store, "write", fail)
        status, answer = await office.ask("POST", body=SPIKE)
        assert status == 503
        assert "can't be written" in answer["error"]
        assert await office.desired(START + 3526) == 1
    assert (await office.ask("POST", body=SPIKE))[0] == 201


async def test_what_cant_come_true_is_taken_and_said(office: Office) -> None:
    soon = SPIKE | {"begins": "2027-01-15T08:01:00Z", "tasks": 900}
    status, told = await office.ask("POST", body=soon)
    assert status == 201
    assert told["warnings"] == [
        "asks for 30.00 pods, replicas.max is 5: raise it, or spread the tasks",
        "75 s are needed to have all pods working, it begins in 60 s",
    ]


async def test_a_dump_that_no_queue_holds_is_said_to_be_one(office: Office, stage: Any) -> None:
    policy = stage.policies["examx"]
    worker = policy.spec.workers["io"].model_copy(update={"limits": Limits(max_length=50)})
    spec = policy.spec.model_copy(update={"workers": {"io": worker}})
    await office.engine.apply({"examx": policy.model_copy(update={"spec": spec})})
    await office.engine.turn()
    _, told = await office.ask("POST", body=SPIKE)
    assert told["warnings"] == [
        "90 tasks at once are more than 50 (maxLength) that may wait and 30 that start: spread them"
    ]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"workerClass": "oi"}, 404, "unknown workerClass 'oi'; policy 'examx' has: io"),
        ({"begins": "2027-01-15T09:00:00"}, 400, "begins: Input should have timezone info"),
        ({"begins": "soon"}, 400, "begins: "),
        ({"until": "2027-01-15T09:00:00Z"}, 400, "a beginning and an end after it"),
        ({"begins": "2026-01-15T09:00:00Z", "until": "2026-01-15T10:00:00Z"}, 400, "is over already"),
        ({"why": " "}, 400, "who announces it and why"),
        ({"tasks": None}, 400, "needs its size"),
        ({"tasks": -5}, 400, "more than 0 and at most 5000000 tasks at once"),
        ({"tasks": "90"}, 400, "tasks: "),
        ({"replicas": 10**9}, 400, "at most 10000 replicas"),
        ({"tasks": 10**400}, 400, "at most 5000000 tasks at once"),
        ({"tasks": None, "rate": 1.7e308}, 400, "at most 100000 tasks per second"),
        ({"until": "9999-12-31T23:59:59-05:00"}, 400, "ends before 2100"),
        ({"begins": "0001-01-01T00:00:00+01:00"}, 400, "begins after 1970"),
        ({"why": "\x1b[2J"}, 400, "can't be printed"),
        ({"why": "x" * 300}, 400, "why: "),
        ({"size": 5}, 400, "size: "),
    ],
)
async def test_what_cant_be_understood_is_refused_with_its_place(
    office: Office, changes: dict[str, Any], status: int, words: str
) -> None:
    answered, answer = await office.ask("POST", body=SPIKE | changes)
    assert (answered, (await office.ask("GET"))[1]["announcements"]) == (status, [])
    assert words in answer["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"x" * 20_000])
async def test_no_body_breaks_it(office: Office, body: bytes) -> None:
    status, answer = await office.ask("POST", body=body)
    assert status in {400, 413}
    assert answer["error"]


async def test_nobody_fills_the_memory(office: Office) -> None:
    for number in range(MOST_ANNOUNCEMENTS):
        assert (await office.ask("POST", body=SPIKE | {"tasks": number + 1}))[0] == 201
    status, answer = await office.ask("POST", body=SPIKE | {"tasks": 5000})
    assert (status, "withdraw one" in answer["error"]) == (409, True)


async def test_only_who_knows_the_token_changes_anything(office: Office) -> None:
    for token in (None, "", "wrong", TOKEN[:-1], f"{TOKEN}x"):
        for method, path in (("POST", PATH), ("DELETE", f"{PATH}/0")):
            status, answer = await office.ask(method, path, SPIKE, token)
            assert status == 401
            assert TOKEN not in json.dumps(answer)


async def test_the_token_is_rotated_and_lost_while_the_service_runs(office: Office) -> None:
    office.token_file.write_text("another-secret-token")
    assert (await office.ask("POST", body=SPIKE))[0] == 401
    assert (await office.ask("POST", body=SPIKE, token="another-secret-token"))[0] == 201

    with capture_logs() as logs:
        for change in (lambda: office.token_file.write_text("short"), office.token_file.unlink):
            change()
            for _ in range(2):
                status, answer = await office.ask("POST", body=SPIKE, token="short")
                assert status == 503
                assert answer["error"] == "the service can't use its token file any more; its log says why"
        office.token_file.write_text(TOKEN)
        assert (await office.ask("POST", body=SPIKE))[0] == 200, "it is the one of before"

    said = [entry["why"] for entry in logs if entry["event"] == "changes over HTTP are refused"]
    assert [text.split("; ")[0] for text in said] == [
        f"the token in {office.token_file} (--token-file) has 5 characters, which can be guessed",
        f"can't read {office.token_file} (--token-file): No such file or directory",
    ], "once per change, not per request"
    assert [entry["event"] for entry in logs if entry["log_level"] == "info"] == [
        "the token file can be used again"
    ]


async def test_without_a_token_file_changes_are_switched_off(office: Office) -> None:
    await office.engine.turn()
    closed = Announcements(office.engine, office.board, lambda: office.now, Bearer(None))
    server = HttpServer(office.board, Metrics(), lambda: office.now, "127.0.0.1:0", closed)
    office.url = f"http://127.0.0.1:{await server.start()}"
    try:
        status, answer = await office.ask("POST", body=SPIKE)
        assert status == 403
        assert "--token-file" in answer["error"]
        assert (await office.ask("GET"))[0] == 200
    finally:
        await server.stop()


@pytest.fixture
def run(office: Office, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command as a user does; exit status, stdout, stderr."""
    app = typer.Typer()
    app.command()(announce)
    monkeypatch.setenv("SCALER_ADDRESS", office.url)
    monkeypatch.setenv("SCALER_TOKEN_FILE", str(office.token_file))

    async def invoke(*arguments: str) -> tuple[int, str, str]:
        with capture_logs():  # the service's, which runs in this process
            result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        return result.exit_code, result.stdout, result.stderr

    return invoke


COMMAND = ("io", "--begins", "2027-01-15T09:00Z", "--for", "30m", "--tasks", "90", "--who", "mira")


async def test_the_command_declares_lists_and_withdraws(run: Run) -> None:
    status, out, error = await run(*COMMAND, "--why", "spring exams")
    assert (status, error) == (0, "")
    who, what, how, *_ = out.splitlines()
    assert who == "io: spring exams (mira), 2027-01-15T09:00:00Z to 2027-01-15T09:30:00Z"
    assert what.endswith(" ÷ 10 slots per pod = 3.00, ordered from 2027-01-15T08:58:45Z")
    assert how.startswith("  withdraw it with: celery-scaler announce --withdraw ")
    assert (await run())[:2] == (0, out)
    found = json.loads((await run("--output", "json"))[1])["announcements"][0]["id"]
    assert (await run("--withdraw", found))[:2] == (0, f"withdrawn: {found}\n")
    assert (await run())[1] == "nothing is announced\n"
    assert (await run("--withdraw", found))[0] == 2


async def test_what_cant_come_true_is_1(run: Run) -> None:
    status, out, _ = await run(*COMMAND, "--why", "spring exams", "--replicas", "9")
    assert status == 1
    assert "warning: asks for 9.00 pods, replicas.max is 5" in out


async def test_a_user_without_a_name_says_who(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the image, whose user is a number, where `kubectl exec` runs the command."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 65532)
    nameless = [word for word in COMMAND if word not in {"--who", "mira"}]

    status, _, error = await run(*nameless, "--why", "spring exams")

    assert status == 2
    assert "--who is missing" in error
    assert (await run(*nameless, "--who", "mira", "--why", "spring exams"))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (COMMAND, "--why is missing"),
        (("io", "--why", "x", "--tasks", "5"), "when is missing"),
        (("--tasks", "5"), "a worker class is missing"),
        ((*COMMAND[:5], "--why", "x"), "its size is missing"),
        (("io", "--begins", "9:00", "--for", "30m", "--tasks", "5", "--why", "x"), "'9:00' is no moment"),
        (
            ("io", "--begins", "2027-01-15T09:00", "--for", "30m", "--tasks", "5", "--why", "x"),
            "names no time zone; write 2027-01-15T09:00+01:00",
        ),
        (("io", "--begins", "5m", "--for", "30", "--tasks", "5", "--why", "x"), "--for: bad duration '30'"),
        (("io", "--withdraw", "0"), "leave the worker class out"),
        ((*COMMAND, "--why", "x", "--token-file", "/nonexistent"), "can't read /nonexistent (--token-file)"),
        ((*COMMAND, "--why", "x", "--policy", "other"), "unknown policy 'other'"),
    ],
)
async def test_bad_usage_is_2_and_names_the_remedy(run: Run, arguments: tuple[str, ...], words: str) -> None:
    status, out, error = await run(*arguments)
    assert (status, out) == (2, "")
    assert words in error
