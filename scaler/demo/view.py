"""Two ways to watch: a live picture on a terminal, plain lines everywhere else (CI logs)."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scaler.demo.scene import Scene, clock_text, sparkline

#: Seconds between two plain lines.
LINE_SECONDS = 3.0
#: Wider than this the picture gets no easier to read.
MOST_COLUMNS = 100
#: The picture stays below 24 lines.
EVENTS_SHOWN = 8


class View(Protocol):
    """Shows a scene whenever it is told to."""

    def show(self, scene: Scene) -> None:
        """Bring what is seen up to date."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view_for(console: Console) -> View:
    """The live picture on a terminal, else plain lines."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """A line every three seconds, and one for each event at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at = float("-inf")
        self._begun = False
        self._events_printed = 0

    def show(self, scene: Scene) -> None:
        """Print what is new."""
        if not self._begun:
            self._begun = True
            self._print(scene.title)
        for at, text in scene.events[self._events_printed :]:
            self._print(f"{clock_text(at)}  * {text}")
        self._events_printed = len(scene.events)
        if scene.clock - self._printed_at >= LINE_SECONDS and scene.desired:
            self._printed_at = scene.clock
            self._print(
                f"{clock_text(scene.clock)}  {scene.phase}: backlog {scene.waiting}, running {scene.running}"
                f", desired {scene.desired}, pods {scene.pods}, done {scene.done}/{scene.sent}"
            )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveView:
    """A picture that is drawn anew in place; its last state stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def show(self, scene: Scene) -> None:
        """Draw the scene."""
        self._live.update(picture(scene, min(self._console.width, MOST_COLUMNS)), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def picture(scene: Scene, width: int) -> Group:
    """The scene, `width` columns wide."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    bars = sparkline(scene.depths, width - 28)
    rows.add_row("backlog", Text.assemble((f"{scene.waiting:>5}  ", "bold yellow"), (bars, "yellow")))
    rows.add_row("running", f"{scene.running:>5}  tasks at work, {scene.done} of {scene.sent} done")
    rows.add_row(
        "desired",
        Text.assemble((f"{scene.desired:>5}  ", "bold cyan"), f"of {scene.low} to {scene.high} pods"),
    )
    rows.add_row("pods", Text.assemble("       ", _blocks(scene), "  ", scene.pods))
    rows.add_row("why", Text(scene.why))
    rows.add_row("", Text(scene.sum, style="dim"))
    rows.add_row("held by", Text(scene.held or "nothing", style="" if scene.held else "dim"))
    frame = Panel(
        rows,
        title=Text.assemble((f" {scene.title} ", "bold")),
        title_align="left",
        subtitle=Text(f" {clock_text(scene.clock)}  {scene.phase} "),
        subtitle_align="right",
        width=width,
        border_style="blue",
    )
    events = Text(no_wrap=True, overflow="ellipsis")
    for at, text in scene.events[-EVENTS_SHOWN:]:
        events.append(f"  {clock_text(at)}  ", style="dim")
        events.append(f"{text}\n")
    return Group(frame, events)


def _blocks(scene: Scene) -> Text:
    """One block per pod: full when ready, light when it starts, hollow where one could be."""
    spare = max(scene.high - scene.ready - scene.starting, 0)
    return Text.assemble(
        ("■ " * scene.ready, "green"),
        ("▨ " * scene.starting, "yellow"),
        ("□ " * spare, "dim"),
        ("▣ " * scene.stopping, "magenta"),
    )
