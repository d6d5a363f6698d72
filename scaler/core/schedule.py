"""Cron windows: which floor a schedule sets at a moment."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from scaler.core.policy import ScheduleWindow


def active_window(windows: tuple[ScheduleWindow, ...], now: float) -> ScheduleWindow | None:
    """The open window with the highest floor at `now` (seconds since the epoch), or None."""
    opened = [window for window in windows if _is_open(window, now)]
    return max(opened, key=lambda window: window.min_replicas, default=None)


def _is_open(window: ScheduleWindow, now: float) -> bool:
    began = _last_start(window.cron, window.timezone, int(now // 60))
    return began is not None and began <= now < began + window.duration


@lru_cache(maxsize=1024)
def _last_start(cron: str, timezone: str, minute: int) -> float | None:
    """Seconds since the epoch of the last cron time up to a minute of the epoch."""
    moment = datetime.fromtimestamp(minute * 60, UTC) + timedelta(minutes=1)
    try:
        started: datetime = next(CronSim(cron, moment.astimezone(ZoneInfo(timezone)), reverse=True))
    except StopIteration:
        return None
    return started.timestamp()
