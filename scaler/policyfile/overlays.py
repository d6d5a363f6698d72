"""Environments: the overlay of one is laid over the spec before anything is validated.

Mappings merge, key by key; lists and single values replace what was there. What comes from the
overlay keeps its own position, so that a fault in it is reported where it was written.
"""

from scaler.core.policy.values import shown
from scaler.policyfile.diagnostics import Finding, did_you_mean, word
from scaler.policyfile.nodes import Entry, Mapping, Node, Scalar, key_place_of

_ENVIRONMENTS = ("spec", "environments")


def overlays(root: Mapping) -> dict[str, Entry]:
    """The overlays of a document by environment; empty where there are none or they are no mapping."""
    spec = root.get("spec")
    found = spec.get("environments") if isinstance(spec, Mapping) else None
    return dict(found.entries) if isinstance(found, Mapping) else {}


def misshapen(root: Mapping) -> list[Finding]:
    """Overlays that can't be laid over anything."""
    findings = []
    for key, entry in overlays(root).items():
        name = word(key)
        if not isinstance(entry.node, Mapping) and not _is_empty(entry.node):
            message = f"environments.{name} must be a mapping like spec; write {name}: {{}} or keys of spec"
            findings.append(Finding(entry.key_place, message))
        elif isinstance(entry.node, Mapping) and "environments" in entry.node.entries:
            place = entry.node.entries["environments"].key_place
            findings.append(Finding(place, f"environments.{name} can't hold environments; remove the key"))
    return findings


def unknown_environment(root: Mapping, environment: str) -> Finding | None:
    """What is wrong with asking for an environment, if anything is."""
    known = overlays(root)
    if environment in known:
        return None
    place = key_place_of(root, _ENVIRONMENTS)
    if not known:
        return Finding(
            place, f"no environments here, so {shown(environment)} is unknown; add it or ask for none"
        )
    guess = did_you_mean(environment, known)
    return Finding(
        place, f"unknown environment {shown(environment)};{guess} known: {', '.join(map(word, known))}"
    )


def lay_over(root: Mapping, environment: str | None) -> Mapping:
    """The document as one environment sees it; of its environments, only the names are left.

    Args:
        root: a document; its overlays are mappings or empty.
        environment: one of its environments, or None for the spec as it stands.
    """
    spec, known = root.get("spec"), overlays(root)
    if not isinstance(spec, Mapping) or not known:
        return root
    if environment is not None and isinstance(overlay := known[environment].node, Mapping):
        own = {key: entry for key, entry in overlay.entries.items() if key != "environments"}
        spec = _merged(spec, Mapping(own, overlay.place))
    held = spec.entries["environments"]
    names = {name: Entry(entry.key_place, Mapping({}, entry.key_place)) for name, entry in known.items()}
    emptied = Entry(held.key_place, Mapping(names, held.node.place))
    whole = Mapping({**spec.entries, "environments": emptied}, spec.place)
    return Mapping({**root.entries, "spec": Entry(root.entries["spec"].key_place, whole)}, root.place)


def _merged(base: Mapping, overlay: Mapping) -> Mapping:
    entries = dict(base.entries)
    for key, entry in overlay.entries.items():
        below = entries.get(key)
        if below and isinstance(below.node, Mapping) and isinstance(entry.node, Mapping):
            # The key stays where the base has it: most of what is under it stands there.
            entries[key] = Entry(below.key_place, _merged(below.node, entry.node))
        else:
            entries[key] = entry
    return Mapping(entries, base.place)


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None
