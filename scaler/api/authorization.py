"""Who may ask for what: the certificate says who calls, the ScaledObject's namespace what it may ask for.

KEDA sets the namespace, so it can be trusted as far as the caller is known to be KEDA: with TLS.
"""

from dataclasses import replace
from typing import Any

import grpc

from scaler.api.interceptor import Refused
from scaler.api.metadata import shortened
from scaler.core.policy import ScalingPolicy
from scaler.runtime.board import Snapshot


def admits(policy: ScalingPolicy, namespace: str) -> bool:
    """Whether a ScaledObject of the namespace may ask for the policy."""
    return not policy.spec.namespaces or namespace in policy.spec.namespaces


def visible(snapshot: Snapshot, namespace: str) -> Snapshot:
    """The snapshot with the policies that the namespace may ask for; no other is named to it."""
    if all(admits(policy, namespace) for policy in snapshot.policies.values()):
        return snapshot
    mine = {name: policy for name, policy in snapshot.policies.items() if admits(policy, namespace)}
    return replace(snapshot, policies=mine)


def require_namespace(snapshot: Snapshot, policy: str | None, namespace: str) -> None:
    """Refuse a namespace that may not ask for the policy.

    Without a policy the only one that is loaded is meant; one that isn't loaded can't be judged.

    Raises:
        Refused: PERMISSION_DENIED; the text doesn't say who may.
    """
    if policy is None and len(snapshot.policies) == 1:
        policy = next(iter(snapshot.policies))
    loaded = snapshot.policies.get(policy) if policy is not None else None
    if loaded is not None and not admits(loaded, namespace):
        raise Refused(
            grpc.StatusCode.PERMISSION_DENIED,
            f"namespace {shortened(namespace)!r} may not ask for policy {policy!r};"
            " whoever owns the policy can add it to spec.namespaces",
        )


def require_client_name(context: grpc.aio.ServicerContext[Any, Any], allowed: frozenset[str]) -> None:
    """Refuse a client whose certificate has none of the allowed names; no names: any client.

    Raises:
        Refused: PERMISSION_DENIED; the text has the names of the caller's own certificate.
    """
    if not allowed:
        return
    proven = context.auth_context()
    names = {
        name.decode("utf-8", "replace")
        for key in ("x509_subject_alternative_name", "x509_common_name")
        for name in proven.get(key, ())
    }
    if names.isdisjoint(allowed):
        raise Refused(
            grpc.StatusCode.PERMISSION_DENIED,
            f"the client certificate is for {shortened(', '.join(sorted(names))) or 'nobody'};"
            " add one of its names to --tls-client-names, or give KEDA another certificate",
        )
