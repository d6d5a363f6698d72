"""What INFO tells of the server: its product, and reasons to distrust the numbers; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Seconds between two questions.
INFO_INTERVAL = 5.0

#: Share of maxmemory from which on Redis refuses writes: between two of them the buffers of the
#: clients, which count too, come and go.
FULL = 0.99


@dataclass(frozen=True, slots=True)
class ServerReading:
    """One INFO, understood."""

    product: str = ""
    suspicions: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


def read_info(info: Mapping[str, Any]) -> ServerReading:
    """What the fields of INFO mean for a broker; a field that is missing means nothing."""
    suspicions: list[str] = []
    gaps: list[str] = []
    limit, policy = _number(info, "maxmemory"), str(info.get("maxmemory_policy", "noeviction"))
    used = _number(info, "used_memory") - _number(info, "mem_not_counted_for_evict")
    if limit and policy.startswith("allkeys"):
        gaps.append(f"Redis may evict tasks ({policy}): set maxmemory-policy noeviction")
    elif limit and used >= FULL * limit:
        suspicions.append(
            f"Redis is at maxmemory ({used / 2**20:.0f} of {limit / 2**20:.0f} MiB) and refuses new tasks"
        )
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        suspicions.append("Redis couldn't save its data and may refuse new tasks; look at its log and disk")
    if info.get("aof_last_write_status", "ok") != "ok":
        suspicions.append(
            "Redis couldn't write its append-only file and refuses new tasks; look at its log and disk"
        )
    if info.get("role") == "slave":
        if info.get("master_link_status") == "up":
            gaps.append("this Redis is a replica, a moment behind: point the broker url at the master")
        else:
            suspicions.append("this Redis is a replica that has lost its master: the numbers are old")
    return ServerReading(_product(info), tuple(suspicions), tuple(gaps))


def _product(info: Mapping[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}" if "redis_version" in info else "Redis"


def _number(info: Mapping[str, Any], name: str) -> int:
    value = info.get(name, 0)
    return value if isinstance(value, int) else 0
