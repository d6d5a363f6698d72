"""A stand-in for the API server over HTTP, with the faults that clients have to live with.

It knows no kinds: any group, version and plural in `served` can be created, read, listed in pages, watched,
replaced, merge-patched and deleted; `…/status` and `…/scale` are subresources. There are no controllers:
a test that wants pods puts them. Writes through HTTP behave as on a real server, `store` is the back door.
"""

import asyncio
import base64
import itertools
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from scaler.testing.kubernetes_store import ApiError, Name, Object, Resource, Store

#: (group and version, plural) → kind. Only for what clients want to see in a list's `kind`.
KINDS: dict[Resource, str] = {
    ("v1", "pods"): "Pod",
    ("v1", "configmaps"): "ConfigMap",
    ("v1", "events"): "Event",
    ("v1", "namespaces"): "Namespace",
    ("apps/v1", "deployments"): "Deployment",
    ("apps/v1", "statefulsets"): "StatefulSet",
    ("autoscaling/v2", "horizontalpodautoscalers"): "HorizontalPodAutoscaler",
    ("coordination.k8s.io/v1", "leases"): "Lease",
    ("keda.sh/v1alpha1", "scaledobjects"): "ScaledObject",
    ("metrics.k8s.io/v1beta1", "pods"): "PodMetrics",
}
_SCALED = frozenset({"deployments", "statefulsets"})
_PATCHES = frozenset({"application/merge-patch+json", "application/strategic-merge-patch+json"})


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    resource: Resource
    namespace: str
    name: str = ""
    part: str = ""

    @property
    def key(self) -> Name:
        """In the store."""
        return self.namespace, self.name


@dataclass
class Faults:
    """What goes wrong from now on; all of it may be changed at any time."""

    #: Tokens that are taken; None: any request is.
    tokens: set[str] | None = None
    #: (verb, plural) without the right: "list", "watch", "get", "create", "update", "patch", "delete".
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    #: So many requests are answered 429 with this Retry-After.
    throttled: int = 0
    retry_after: int = 1
    #: So many requests are answered 503.
    unavailable: int = 0
    #: Seconds before each answer.
    delay: float = 0.0
    #: Open watches stay open and say nothing: a half-open connection, as the client sees it.
    mute: bool = False


class KubernetesApi:
    """The server. `requests` counts (verb, plural)."""

    def __init__(self, *, bookmark_seconds: float = 60.0) -> None:
        """Empty; every kind in KINDS is served."""
        self.store = Store()
        self.served = dict(KINDS)
        self.faults = Faults()
        self.requests: Counter[tuple[str, str]] = Counter()
        #: Sent so far, by plural.
        self.bookmarks: Counter[str] = Counter()
        #: Watches that are open now.
        self.watching = 0
        self._bookmark_seconds = bookmark_seconds
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._tokens = itertools.count()
        self._transports: set[asyncio.Transport] = set()

    @asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback for as long as the block lasts; gives the URL."""
        app = web.Application(client_max_size=3 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A real server drops what it does for clients that went away.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
            yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.drop_watches()
            await runner.cleanup()

    def drop_watches(self) -> None:
        """Cut the connections of all open watches, without a goodbye."""
        for transport in self._transports:
            transport.abort()

    def compact(self) -> None:
        """Forget history and the pages of lists that are being read: 410 for who comes from before."""
        self.store.compact()
        self._pages.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            return web.json_response(error.status, status=error.code, headers=headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = self._target(request.path)
        verb = _verb(request, target)
        self.requests[verb, target.resource[1]] += 1
        self._refuse(request, verb, target)
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        match verb:
            case "list":
                return web.json_response(self._list(target, request.query))
            case "watch":
                return await self._watch(request, target)
            case "get":
                found = self.store.get(target.resource, target.key)
                return web.json_response(_scale(found) if target.part == "scale" else found)
            case "create":
                made = self.store.create(target.resource, target.namespace, await request.json())
                return web.json_response(made, status=201)
            case "delete":
                return web.json_response(self.store.delete(target.resource, target.key))
            case _:
                return web.json_response(self._write(target, verb, request, await request.json()))

    def _target(self, path: str) -> Target:
        parts = path.strip("/").split("/")
        group, rest = ("v1", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":  # noqa: PLR2004 - namespaces/NAME/plural
            namespace, rest = rest[1], rest[2:]
        if not rest or (group, rest[0]) not in self.served:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return Target((group, rest[0]), namespace, *rest[1:3])

    def _refuse(self, request: web.Request, verb: str, target: Target) -> None:
        """Throttling comes first, then who asks, then what they may: as in the real server's filters."""
        faults = self.faults
        if faults.throttled:
            faults.throttled -= 1
            message = "too many requests, please try again later"
            raise ApiError(429, "TooManyRequests", message, retry_after=faults.retry_after)
        if faults.unavailable:
            faults.unavailable -= 1
            raise ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if faults.tokens is not None and token not in faults.tokens:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        plural = target.resource[1]
        if (verb, plural) in faults.forbidden:
            raise ApiError(403, "Forbidden", f'{plural} is forbidden: cannot {verb} resource "{plural}"')

    def _list(self, target: Target, query: Any) -> Object:  # noqa: ANN401 - a multidict
        limit, token = int(query.get("limit") or 0), query.get("continue")
        if target.resource[0].startswith("metrics."):
            limit = 0  # metrics-server gives everything at once
        if token:
            if token not in self._pages:
                raise ApiError(410, "Expired", "The provided continue parameter is too old")
            version, items = self._pages.pop(token)
        else:
            version, items = self.store.version, self._found(target, query)
        metadata: Object = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            place = [version, items[limit - 1]["metadata"]["name"], next(self._tokens)]
            more = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
            self._pages[more] = (version, items[limit:])
            metadata |= {"continue": more, "remainingItemCount": len(items) - limit}
            items = items[:limit]
        group, _ = target.resource
        return {
            "kind": f"{self.served[target.resource]}List",
            "apiVersion": group,
            "metadata": metadata,
            "items": items,
        }

    def _found(self, target: Target, query: Any) -> list[Object]:  # noqa: ANN401 - a multidict
        stored = self.store.objects.get(target.resource, {})
        return [stored[name] for name in sorted(stored) if _wanted(stored[name], target, query)]

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.resource[0].startswith("metrics."):
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on this resource")
        query, version = request.query, request.query.get("resourceVersion", "")
        at = self.store.version
        events: list[Object] = []
        if version in {"", "0"}:
            events = [{"type": "ADDED", "object": one} for one in self._found(target, query)]
        else:
            at = int(version)
            self.store.since(at, target.resource)  # 410 as an answer of its own
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy: an open connection has one
        self._transports.add(transport)
        self.watching += 1
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds") or 1800)):
                await self._send(response, events)
                await self._follow(response, target, query, at)
        except TimeoutError:
            return response
        except ConnectionError:
            return response
        finally:
            self.watching -= 1
            self._transports.discard(transport)
        return response

    async def _follow(self, response: web.StreamResponse, target: Target, query: Any, at: int) -> None:  # noqa: ANN401
        bookmarks = query.get("allowWatchBookmarks") == "true"
        while True:
            changed = self.store.changed
            try:
                changes = self.store.since(at, target.resource)
            except ApiError as error:
                await self._send(response, [{"type": "ERROR", "object": error.status}])
                return
            at = self.store.version
            wanted = [one for one in changes if _wanted(one.object, target, query)]
            await self._send(response, [{"type": one.kind, "object": one.object} for one in wanted])
            try:
                async with asyncio.timeout(self._bookmark_seconds):
                    await changed.wait()
            except TimeoutError:
                if bookmarks:
                    metadata = {"resourceVersion": str(at)}
                    kind, group = self.served[target.resource], target.resource[0]
                    mark = {"kind": kind, "apiVersion": group, "metadata": metadata}
                    await self._send(response, [{"type": "BOOKMARK", "object": mark}])
                    self.bookmarks[target.resource[1]] += 1

    async def _send(self, response: web.StreamResponse, events: Iterable[Object]) -> None:
        while self.faults.mute:  # noqa: ASYNC110 - a plain switch for tests
            await asyncio.sleep(0.01)
        lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        if lines:
            await response.write(lines)

    def _write(self, target: Target, verb: str, request: web.Request, body: Object) -> Object:
        if target.part == "scale":
            if target.resource[1] not in _SCALED:
                raise ApiError(404, "NotFound", "the server could not find the requested resource")
            change: Object = {"spec": {"replicas": body.get("spec", {}).get("replicas", 0)}}
            version = body.get("metadata", {}).get("resourceVersion")
            if version is not None:
                change["metadata"] = {"resourceVersion": version}
            return _scale(self.store.patch(target.resource, target.key, change))
        if verb == "update":
            return self.store.update(target.resource, target.key, body, part=target.part)
        if request.content_type not in _PATCHES:
            raise ApiError(415, "UnsupportedMediaType", f"this stand-in knows no {request.content_type}")
        manager = request.query.get("fieldManager", "")
        return self.store.patch(target.resource, target.key, body, part=target.part, manager=manager)


def kubeconfig(
    file: Path, url: str, token_file: Path, namespace: str = "celery", ca: Path | None = None
) -> Path:
    """Write a kubeconfig that leads to `url` with the token in a file; JSON is YAML."""
    cluster: Object = {"server": url} | ({"certificate-authority": str(ca)} if ca else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"tokenFile": str(token_file)}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}
        ],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def _verb(request: web.Request, target: Target) -> str:
    if request.method == "GET":
        if request.query.get("watch") in {"true", "1", "True"}:
            return "watch"
        return "get" if target.name else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]


def _wanted(found: Object, target: Target, query: Any) -> bool:  # noqa: ANN401 - a multidict
    """Namespace, `fieldSelector` on the name, and `labelSelector` with equalities."""
    metadata = found["metadata"]
    if target.namespace and metadata.get("namespace", "") != target.namespace:
        return False
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    if name and metadata["name"] != name:
        return False
    pairs = [pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair]
    return all(metadata.get("labels", {}).get(key) == value.lstrip("=") for key, _, value in pairs)


def _scale(found: Object) -> Object:
    """The scale subresource."""
    metadata, spec, status = found["metadata"], found.get("spec", {}), found.get("status", {})
    labels = spec.get("selector", {}).get("matchLabels", {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }
