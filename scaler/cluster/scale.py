"""The scale subresource of a target: read, and written only if nobody was faster.

Read, changed and put back with the version that was read, as KEDA and the HPA themselves do it: of two
writers one gets 409 and has to look again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaler.cluster.errors import ClusterError
from scaler.cluster.objects import scaled_object_of
from scaler.core.workload import KedaObject, Reference

if TYPE_CHECKING:
    from scaler.cluster.connection import Connection

PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
#: Seconds for one request: what takes longer is left to the HPA, which looks every 15 s.
SCALE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ScaleSeen:
    """A scale as it was read, with what is needed to put it back."""

    replicas: int
    document: dict[str, Any]


class Scales:
    """Scale subresources and ScaledObjects, straight from the server: copies may be some seconds old."""

    def __init__(self, connection: "Connection") -> None:
        """The connection is its opener's to close."""
        self._connection = connection

    async def read(self, target: Reference) -> ScaleSeen:
        """The scale of a target.

        Raises:
            ClusterError: it can't be read.
        """
        path, place = _address(target)
        return _seen(await self._connection.send("get", path, place=place, silence=SCALE_SECONDS))

    async def write(self, target: Reference, seen: ScaleSeen, replicas: int) -> ScaleSeen:
        """Set the replicas, if the target is as it was seen.

        Raises:
            ConflictError: it was changed since.
            ClusterError: it can't be written, or it isn't known whether it was.
        """
        path, place = _address(target)
        document = seen.document | {"spec": {"replicas": replicas}}
        answer = await self._connection.send("update", path, document, place=place, silence=SCALE_SECONDS)
        return _seen(answer)

    async def scaled_object(self, namespace: str, name: str) -> KedaObject:
        """A ScaledObject.

        Raises:
            ClusterError: it can't be read.
        """
        path = f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/{name}"
        place = ("scaledobjects", f"namespace {namespace}")
        found = scaled_object_of(
            await self._connection.send("get", path, place=place, silence=SCALE_SECONDS)
        ).object
        if not isinstance(found, KedaObject):
            raise ClusterError("the API server answers with something that is no ScaledObject")
        return found


def _address(target: Reference) -> tuple[str, tuple[str, str]]:
    plural = PLURALS[target.kind]
    path = f"/apis/{target.api_version}/namespaces/{target.namespace}/{plural}/{target.name}/scale"
    return path, (f"{plural}/scale", f"namespace {target.namespace}")


def _seen(document: dict[str, Any]) -> ScaleSeen:
    try:
        return ScaleSeen(int((document.get("spec") or {}).get("replicas", 0)), document)
    except (TypeError, ValueError) as error:
        raise ClusterError("the API server answers with something that is no scale") from error
