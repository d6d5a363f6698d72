"""What there is to see at one moment; the story writes it, the views read it."""

from dataclasses import dataclass, field


@dataclass
class Scene:
    """The state of the demo. Counts are tasks or pods."""

    title: str
    low: int
    high: int
    #: Seconds since the demo began.
    clock: float = 0.0
    phase: str = "starting"
    waiting: int = 0
    running: int = 0
    sent: int = 0
    done: int = 0
    desired: int = 0
    ready: int = 0
    starting: int = 0
    stopping: int = 0
    #: The service's own words: its headline, the sum that decides, and what holds it back.
    why: str = "nothing decided yet"
    sum: str = ""
    held: str = ""
    #: One depth of the queue per second, oldest first.
    depths: list[int] = field(default_factory=list)
    #: (seconds since the demo began, what happened), oldest first.
    events: list[tuple[float, str]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add an event at the present moment."""
        self.events.append((self.clock, text))

    @property
    def pods(self) -> str:
        """The pods in words: `4 ready, 1 starting`."""
        parts = [f"{self.ready} ready"]
        if self.starting:
            parts.append(f"{self.starting} starting")
        if self.stopping:
            parts.append(f"{self.stopping} finishing")
        return ", ".join(parts)


def clock_text(seconds: float) -> str:
    """Minutes and seconds: `01:07`."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


def sparkline(values: list[int], width: int) -> str:
    """The values as bars of eight heights, the largest of each stretch if there are more than fit."""
    if not values:
        return ""
    width = min(width, len(values))
    stretches = (values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width))
    tops = [max(stretch) for stretch in stretches]
    most = max(*tops, 1)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * top // most)] for top in tops)
