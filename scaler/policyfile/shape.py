"""What the models allow at a path of the document: the known keys, words and kinds of values."""

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from scaler.core.policy import Broker, ScalingPolicy
from scaler.core.policy.values import Model, Path


def known_keys(model: type[Model]) -> dict[str, FieldInfo]:
    """Fields of a model by the key that a file has for them."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def model_at(path: Path) -> type[Model] | None:
    """The model whose keys stand at a path, if it is one."""
    found = _type_at(path)
    return found if isinstance(found, type) and issubclass(found, Model) else None


def words_at(path: Path) -> tuple[str, ...]:
    """The words of which a value at a path must be one; empty where others may stand there."""
    found = _type_at(path)
    return get_args(found) if get_origin(found) is Literal else ()


def is_known(path: Path) -> bool:
    """Whether a document may have something at a path at all."""
    return _type_at(path) is not None


def is_needed(path: Path) -> bool:
    """Whether a document without this key is none: a field without default, a broker, or its URL."""
    parent = model_at(path[:-1])
    if parent is None:
        return path[:-1] == ("spec", "brokers")
    info = known_keys(parent).get(str(path[-1]))
    return (parent is Broker and path[-1] == "url") or (info is not None and info.is_required())


def _type_at(path: Path) -> Any:  # noqa: ANN401 - annotations are classes and special forms
    found: Any = ScalingPolicy
    for step in path:
        if isinstance(found, type) and issubclass(found, Model):
            info = known_keys(found).get(str(step))
            found = _bare(info.annotation) if info else None
        elif get_origin(found) is dict and isinstance(step, str):
            found = _bare(get_args(found)[1])
        elif get_origin(found) is tuple and isinstance(step, int):
            found = _bare(get_args(found)[0])
        else:
            return None
    return found


def _bare(annotation: Any) -> Any:  # noqa: ANN401 - see above
    """An annotation without its constraints and without `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _bare(next(arm for arm in get_args(annotation) if arm is not type(None)))
    return annotation
