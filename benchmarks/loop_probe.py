"""Measures what an event loop is kept busy by, callback by callback."""

import asyncio
import gc
import time
from asyncio.events import Handle
from typing import Any, Self

#: Callbacks that are told of.
SHOWN = 8


class Probe:
    """Measures every callback of the loop."""

    def __init__(self) -> None:
        self.worst: dict[str, tuple[float, float]] = {}
        self.collections: dict[int, list[float]] = {0: [], 1: [], 2: []}
        self._collected = 0.0
        self._began = 0.0
        self.busy = 0.0

    def __enter__(self) -> Self:
        self._run = run = Handle._run  # noqa: SLF001 - there is no public place to stand at

        def measured(handle: Handle) -> None:
            task = getattr(handle._callback, "__self__", None)  # noqa: SLF001 - as above
            task = task if isinstance(task, asyncio.Task) else None
            before = _place(task)
            collected, began = self._collected, time.thread_time()
            run(handle)
            took = (time.thread_time() - began) * 1000
            self.busy += took
            if took > 1.0:
                what = f"{task.get_name()}: {before} -> {_place(task)}" if task else repr(handle)[:90]
                if took > self.worst.get(what, (0.0, 0.0))[0]:
                    self.worst[what] = took, self._collected - collected

        Handle._run = measured  # type: ignore[method-assign]  # noqa: SLF001 - as above
        gc.callbacks.append(self._collect)
        return self

    def __exit__(self, *args: object) -> None:
        Handle._run = self._run  # type: ignore[method-assign]  # noqa: SLF001 - as above
        gc.callbacks.remove(self._collect)

    def _collect(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
            return
        took = (time.thread_time() - self._began) * 1000
        self.collections[info["generation"]].append(took)
        self._collected += took

    def report(self, phase: str, seconds: float) -> float:
        """Print the longest; returns its milliseconds."""
        share = self.busy / 10 / seconds
        print(f"{phase}: the loop computed for {share:.0f} % of {seconds:.0f} s, longest in one go:")
        ranked = sorted(self.worst.items(), key=lambda one: -one[1][0])
        for what, (took, collecting) in ranked[:SHOWN]:
            because = f" ({collecting:.1f} of it collecting garbage)" if collecting > 0.5 else ""
            print(f"  {took:6.1f} ms  {what}{because}")
        for generation, times in self.collections.items():
            if times:
                print(f"  collections of generation {generation}: {len(times)}, longest {max(times):.1f} ms")
        return ranked[0][1][0] if ranked else 0.0


def _place(task: "asyncio.Task[Any] | None") -> str:
    """Where a task waits: the innermost of its functions that is known."""
    waiting: Any = task.get_coro() if task else None
    place = "start"
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_name}:{frame.f_lineno}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return place
