"""What is seen: a picture on a terminal, lines in a log."""

from io import StringIO

import pytest
from rich.console import Console

from scaler.demo.scene import Scene, sparkline
from scaler.demo.view import EVENTS_SHOWN, LiveView, PlainView, picture, view_for


@pytest.fixture
def scene() -> Scene:
    return Scene(
        title="celery-scaler demo on redis-server 7.0.15",
        low=1,
        high=5,
        clock=23.4,
        phase="drain",
        waiting=612,
        running=80,
        sent=1200,
        done=508,
        desired=4,
        ready=3,
        starting=1,
        stopping=1,
        why="drain: " + "a long sum that needs more than one line, " * 5,
        held="scale-up-policy: 5 wanted, 3 pods per 15 s allows 4 now",
        depths=list(range(0, 900, 7)),
    )


def rendered(scene: Scene, width: int) -> list[str]:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(picture(scene, width))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_picture_fits_its_terminal(scene: Scene, width: int) -> None:
    for number in range(30):
        scene.say(f"event {number} " + "that has a lot to say " * 8)
    lines = rendered(scene, width)
    assert max(len(line) for line in lines) <= width
    assert len(lines) <= 24 or width < 80
    assert sum("event" in line for line in lines) == EVENTS_SHOWN, "the last ones, one line each"


def test_the_picture_shows_backlog_desired_pods_and_why(scene: Scene) -> None:
    text = "\n".join(rendered(scene, 80))
    for fragment in (
        "612",
        "508 of 1200 done",
        "of 1 to 5 pods",
        "3 ready, 1 starting, 1 finishing",
        "00:23  drain",
    ):
        assert fragment in text
    assert "drain: a long sum" in text
    assert "scale-up-policy: 5 wanted" in text


def test_a_log_gets_each_event_once_and_a_line_every_three_seconds(scene: Scene) -> None:
    console = Console(width=80, file=StringIO(), record=True)
    with PlainView(console) as view:
        for second in (0.0, 1.0, 2.0, 3.0, 4.0, 5.9, 6.0):
            scene.clock = second
            if second == 2.0:
                scene.say("BURST: 1100 e-mails in 2 s")
            view.show(scene)
    title, *lines = console.export_text().splitlines()
    assert title == scene.title
    assert [line[:5] for line in lines] == ["00:00", "00:02", "00:03", "00:06"]
    assert lines[1] == "00:02  * BURST: 1100 e-mails in 2 s"
    assert "backlog 612, running 80, desired 4, pods 3 ready" in lines[2]


def test_a_terminal_gets_the_picture_and_a_pipe_the_lines() -> None:
    assert isinstance(view_for(Console(file=StringIO(), force_terminal=True)), LiveView)
    assert isinstance(view_for(Console(file=StringIO())), PlainView)


def test_a_sparkline_keeps_the_height_of_peaks_however_narrow_it_is() -> None:
    assert sparkline([0, 1, 4, 8], 10) == " ▁▄█"
    assert sparkline([0, 0, 0, 8, 0, 0, 0, 0], 2) == "█ "
    assert sparkline([0, 0], 10) == "  "
    assert sparkline([], 10) == ""
