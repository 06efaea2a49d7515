"""Every regular expression of the package, how it is applied, and texts that it finds hard."""

import ast
import importlib
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from re import _constants as sre, _parser as parser
from types import FunctionType
from typing import Any, NamedTuple

SRC = Path(__file__).parents[1] / "src"
METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
COMMON = " \t\n\ra0A@.,;:=-_\"'\\()<>[]{}?*+/%!\x00\x01\x7f\x80\xff"
"""Some character of every class that one might write."""


class Applied(NamedTuple):
    """A pattern and a method that it is used with; `where` names both."""

    where: str
    pattern: re.Pattern[Any]
    method: str

    def __call__(self, text: str) -> None:
        subject = text.encode("latin-1") if isinstance(self.pattern.pattern, bytes) else text
        if self.method in ("sub", "subn"):
            getattr(self.pattern, self.method)(subject[:0], subject)
        else:
            found = getattr(self.pattern, self.method)(subject)
            if self.method == "finditer":
                deque(found, maxlen=0)


def applied() -> list[Applied]:
    """All patterns of the package, found by walking its modules: those that any value of a module
    holds, and those that a call of `re` is given as a constant."""
    paths = [path for path in sorted((SRC / "chatmaild").rglob("*.py"))
             if path.name != "__main__.py"]     # which would run
    trees = {path: ast.parse(path.read_text()) for path in paths}
    uses = _uses(trees.values())
    found: dict[tuple[str, Any, str], Applied] = {}
    for path, tree in trees.items():
        name = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        patterns = list(_held(vars(importlib.import_module(name)), "", name, set()))
        for variable, pattern in patterns:
            for method in sorted(uses.get(variable, METHODS)):
                found.setdefault((str(pattern.pattern), pattern.flags, method), Applied(
                    f"{name}.{variable}.{method}", pattern, method))
        for line, pattern, method in _inline(tree):
            found.setdefault((str(pattern.pattern), pattern.flags, method), Applied(
                f"{name}:{line} re.{method}", pattern, method))
    return list(found.values())


def _held(value: Any, name: str, module: str, seen: set[int]
          ) -> Iterator[tuple[str, re.Pattern[Any]]]:
    if isinstance(value, re.Pattern):
        yield name, value
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, dict):
            for key, inner in list(value.items()):
                yield from _held(inner, key if isinstance(key, str) and not name else name,
                                 module, seen)
        elif isinstance(value, (list, tuple, set, frozenset)):
            for inner in value:
                yield from _held(inner, name, module, seen)
        elif isinstance(value, FunctionType):
            for cell, variable in zip(value.__closure__ or (), value.__code__.co_freevars):
                with suppress(ValueError):      # not set yet
                    yield from _held(cell.cell_contents, variable, module, seen)
        elif str(getattr(value, "__module__", "")).startswith("chatmaild") \
                and hasattr(value, "__dict__"):
            yield from _held(dict(vars(value)), "", module, seen)


def _uses(trees: Any) -> dict[str, set[str]]:
    """With which methods each name is used, wherever it is. A pattern that is handed on has no
    entry, or is one of several under a name: it counts as used in every way."""
    uses: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                owner = node.value
                name = getattr(owner, "id", getattr(owner, "attr", ""))
                uses.setdefault(name, set()).add(node.attr)
    return uses


def _inline(tree: ast.AST) -> Iterator[tuple[int, re.Pattern[Any], str]]:
    for node in ast.walk(tree):
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                and node.func.attr in METHODS and isinstance(node.args[0], ast.Constant)):
            yield node.lineno, re.compile(node.args[0].value), node.func.attr


def hard_texts(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """(beginning, what is repeated, end) of texts that make a pattern work hard: behind each
    beginning of a match every kind of character, over and over, and an end that spoils it."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    samples = {tuple(_pieces(tree, choice, {})) for choice in range(4)}
    beginnings = {""} | {"".join(pieces[:count]) for pieces in samples
                         for count in range(1, len(pieces) + 1)}
    own = sorted(_literals(tree))
    characters = dict.fromkeys([*COMMON, *own])
    wholes = {"".join(pieces) for pieces in samples} - {""}
    texts = [(begin, character, end) for begin in sorted(beginnings)
             for character in characters for end in ("", "\x00", "!")]
    texts += [("", whole + between, end) for whole in wholes | beginnings - {""}
              for between in ("", " ", "\n") for end in ("", "\x00")]
    few = list(dict.fromkeys([*own, " ", "a", "\n"]))[:12]
    texts += [(begin, one + other, "\x00") for begin in sorted(beginnings)[:3]
              for one in few for other in few if one != other]
    return texts


def _pieces(tree: Any, choice: int, groups: dict[int, str]) -> list[str]:
    """The parts of one text that matches; `choice` says which branch is taken."""
    pieces: list[str] = []
    for operator, argument in tree:
        if operator is sre.LITERAL:
            pieces.append(chr(argument))
        elif operator in (sre.IN, sre.NOT_LITERAL):
            pieces.append(_member(operator, argument))
        elif operator is sre.ANY:
            pieces.append("a")
        elif operator in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, inner = argument
            pieces += _pieces(inner, choice, groups) * min(max(low, 1), high, 40)
        elif operator is sre.BRANCH:
            branches = argument[1]
            pieces += _pieces(branches[choice % len(branches)], choice, groups)
        elif operator is sre.SUBPATTERN:
            inner_pieces = _pieces(argument[3], choice, groups)
            groups[argument[0]] = "".join(inner_pieces)
            pieces += inner_pieces
        elif operator is sre.ATOMIC_GROUP:
            pieces += _pieces(argument, choice, groups)
        elif operator is sre.GROUPREF:
            pieces.append(groups.get(argument, ""))
    return pieces


def _member(operator: Any, argument: Any) -> str:
    if operator is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if argument[0][0] is sre.NEGATE:
        excluded = {value for kind, value in argument if kind is sre.LITERAL}
        return next(character for character in "a0 -/\x80" if ord(character) not in excluded)
    kind, value = argument[0]
    if kind is sre.CATEGORY:
        return {sre.CATEGORY_SPACE: " ", sre.CATEGORY_DIGIT: "0"}.get(value, "a")
    return chr(value if kind is sre.LITERAL else value[0])


def _literals(tree: Any) -> set[str]:
    """One character at least of each class in a pattern, from 0 to 255."""
    found: set[str] = set()
    for operator, argument in tree:
        if operator is sre.LITERAL:
            found.add(chr(argument))
        elif operator is sre.IN:
            found |= {chr(value if kind is sre.LITERAL else value[0])
                      for kind, value in argument if kind in (sre.LITERAL, sre.RANGE)}
        elif isinstance(argument, tuple):
            for inner in argument:
                inner = inner if isinstance(inner, list) else [inner]
                for part in inner:
                    if isinstance(part, parser.SubPattern):
                        found |= _literals(part)
        elif isinstance(argument, parser.SubPattern):
            found |= _literals(argument)
    return {character for character in found if ord(character) < 256}
