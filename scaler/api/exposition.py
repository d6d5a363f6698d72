"""Answers that may be large, made beside the event loop: the metrics, and all classes at once.

With 500 classes there are 15,000 series. Writing them down takes 200 ms of computing, for which KEDA's calls
would wait; in a thread it gives way every 5 ms. What is read there is never changed (a snapshot), or made for
threads (the metrics' registry).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from scaler.api.workers import all_workers
from scaler.runtime.board import Snapshot

#: Bodies above this many bytes are compressed in a thread too.
_LARGE = 16 * 1024


def metrics_handler(registry: CollectorRegistry) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers in the format that the asker prefers, `name[]` chooses among the metrics."""

    async def answer(request: web.Request) -> web.StreamResponse:
        write, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        names = request.query.getall("name[]", [])
        chosen = registry.restricted_registry(names) if names else registry
        body = await asyncio.to_thread(write, chosen)
        response = web.Response(
            body=body, headers={hdrs.CONTENT_TYPE: content_type}, zlib_executor_size=_LARGE
        )
        response.enable_compression()
        return response

    return answer


async def workers_response(snapshot: Snapshot, now: float, *, foreign: bool) -> web.Response:
    """Every loaded class, as JSON; `foreign` as in `worker_document`."""

    def written() -> str:
        # One by one: no thread can interrupt the writing of a single document.
        workers = ", ".join(json.dumps(document) for document in all_workers(snapshot, now, foreign=foreign))
        head = json.dumps({"now": now, "takenAt": snapshot.taken_at})
        return f'{head[:-1]}, "workers": [{workers}]}}'

    return web.json_response(text=await asyncio.to_thread(written))
