"""What is wrong with a board, by the types that are made from Grafana's own schemas.

    PYTHON grafanaboard.py FILE        prints a line for each fault

PYTHON has grafana-foundation-sdk (tests/rig/venv grafana).
"""

import enum
import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any


def lost(given: Any, kept: Any, path: str = "board") -> Iterator[str]:
    """What Grafana's types have no place for: it is gone when they are written out again."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name in given:
            if name not in kept:
                yield f"{path}.{name}: unknown"
            else:
                yield from lost(given[name], kept[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept)):
            yield from lost(one, other, f"{path}[{number}]")
    elif given != kept:
        yield f"{path}: {given!r} was read as {kept!r}"


def misfits(value: Any, path: str = "board") -> Iterator[str]:
    """Attributes whose value is none of their type."""
    module = sys.modules[type(value).__module__]
    for name, hint in typing.get_type_hints(type(value), vars(module)).items():
        found = getattr(value, name)
        if not fits(found, hint):
            yield f"{path}.{name}: {found!r} is no {hint}"
        for number, item in enumerate(found if isinstance(found, list) else [found]):
            if type(item).__module__.startswith("grafana_foundation_sdk.models"):
                yield from misfits(item, f"{path}.{name}[{number}]")


def fits(value: Any, hint: Any) -> bool:
    """Whether `value` is of the type `hint`; a number may be whole."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if kind is typing.Literal:
        return value in parts
    if kind is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(fits(item, parts[1]) for item in value.values())
    if hint in (object, Any):
        return True
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [member.value for member in hint] or isinstance(value, hint)
    return isinstance(value, hint)


def main() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard
    register_default_plugins()
    with open(sys.argv[1]) as file:
        given = json.load(file)
    board = Dashboard.from_json(given)
    for fault in [*lost(given, json.loads(JSONEncoder().encode(board))), *misfits(board)]:
        print(fault)


if __name__ == "__main__":
    main()
