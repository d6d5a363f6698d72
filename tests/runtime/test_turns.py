"""Long computing beside others: whoever waits for the loop gets it every few milliseconds."""

import asyncio

from scaler.runtime.turns import TURN_SECONDS, Steps, Turns


async def test_two_computations_of_a_tick_share_one_pace_and_others_run_in_between() -> None:
    now, others = 0.0, []

    def computing(name: str) -> Steps[str]:
        nonlocal now
        for _ in range(6):
            now += TURN_SECONDS / 4
            yield
        return name

    async def other() -> None:
        while True:
            others.append(now)
            await asyncio.sleep(0)

    turns = Turns(lambda: now)
    beside = asyncio.create_task(other())
    done = [await turns.through(computing(name)) for name in ("looking", "deciding")]
    beside.cancel()
    assert done == ["looking", "deciding"]
    assert [round(at / TURN_SECONDS, 2) for at in others] == [1.25, 2.5]
