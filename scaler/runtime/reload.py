"""Hot reload of the policy files.

The folder is watched, not the files: a ConfigMap update swaps a `..data` symlink, and a watch on
a file sees only the first swap. Whatever the event, what counts is whether the contents changed;
and because file systems exist that send no events, the contents are looked at every 5 s anyway.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from hashlib import blake2b
from pathlib import Path

import structlog
from watchfiles import awatch

from scaler.core.policy import ScalingPolicy
from scaler.policyfile import PolicyError
from scaler.policyfile.loading import policy_files
from scaler.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

#: Milliseconds without an event after which the contents are compared all the same.
LOOK_ANYWAY_MS = 5000
#: Milliseconds in which several events are taken as one.
DEBOUNCE_MS = 200

Loader = Callable[[], Mapping[str, ScalingPolicy]]
Apply = Callable[[Mapping[str, ScalingPolicy]], Awaitable[None]]


def fingerprint(path: Path) -> str:
    """A digest of the names and contents of the policy files at `path`; never raises.

    A file that can't be read counts with its fault, so that the others' changes are still seen.
    """
    digest = blake2b(digest_size=16)
    try:
        files = policy_files(path)
    except PolicyError:
        files = []
    for file in files:
        digest.update(file.name.encode() + b"\0")
        try:
            digest.update(file.read_bytes() if file.is_file() else b"no file")
        except OSError as error:
            digest.update(repr(error.errno).encode())
    return digest.hexdigest()


async def watch_policies(path: Path, load: Loader, apply: Apply, metrics: Metrics) -> None:
    """Apply the policies at `path` whenever their contents change; a broken file changes nothing."""
    known = fingerprint(path)
    async for _ in _stirrings(path):
        present = fingerprint(path)
        if present != known:
            known = present
            await _reload(load, apply, metrics)


async def _stirrings(path: Path) -> AsyncIterator[None]:
    """Yields after every event in the folder of the policies, and every few seconds without one."""
    folder = path if path.is_dir() else path.parent  # noqa: ASYNC240 - two stat calls on a local path
    try:
        async for _ in awatch(
            folder,
            watch_filter=None,
            recursive=False,
            debounce=DEBOUNCE_MS,
            rust_timeout=LOOK_ANYWAY_MS,
            yield_on_timeout=True,
        ):
            yield
    except OSError as error:
        log.warning("policy folder can't be watched; looking every few seconds instead", errno=error.errno)
        while True:
            await asyncio.sleep(LOOK_ANYWAY_MS / 1000)
            yield


async def _reload(load: Loader, apply: Apply, metrics: Metrics) -> None:
    try:
        policies = await asyncio.to_thread(load)
    except PolicyError as error:
        metrics.policy_reload_total.labels("broken").inc()
        metrics.policy_broken.set(1)
        for diagnostic in error.diagnostics:
            log.error("policy is broken; the previous one stays in force", where=str(diagnostic))  # noqa: TRY400 - the diagnostic says it all, a traceback nothing
        return
    await apply(policies)
    metrics.policy_reload_total.labels("applied").inc()
    metrics.policy_broken.set(0)
    log.info("policies reloaded", policies=sorted(policies))
