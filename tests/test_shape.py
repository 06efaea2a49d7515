"""What a reader has to hold in mind stays small, and nothing is hidden from them."""

import ast
import asyncio
import collections
import dataclasses
import importlib
import io
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = [path for path in sorted((SRC / "chatmaild").rglob("*.py")) if path.stem != "__main__"]
IDS = [str(path.relative_to(SRC / "chatmaild")) for path in MODULES]

LINES, BRANCHES, MODULE = 40, 10, 375
"""At most: lines of a function with its docstring, branches in it, and lines of a module."""

LARGER: dict[str, str] = {}
"""FILE:FUNCTION, and why it is better in one piece."""

BRANCH = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

CACHES = {
    "accounts/passwordhash.py:_libcrypt", "dkim/crypto.py:_padding", "dkim/crypto.py:public_key",
    "dkim/verification.py:key_record", "filter/incoming.py:_parsed", "message/parthead.py:check",
    "message/pgpmime.py:_lines_in_known_head",
}
"""Of pure functions, and bounded: nobody can tell that they remember."""

CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove",
            "setdefault", "sort", "update", "__setitem__"}


def name(path):
    return str(path.relative_to(SRC / "chatmaild"))


def functions(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTION)]


def branches(function):
    """Of its own; a function within it counts for itself."""
    count, todo = 0, list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        count += isinstance(node, BRANCH)
        if not isinstance(node, FUNCTION):
            todo += ast.iter_child_nodes(node)
    return count


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_function_is_too_long_or_has_too_many_branches(path):
    large = {f"{name(path)}:{each.name}" for each in functions(path)
             if each.end_lineno - each.lineno + 1 > LINES or branches(each) > BRANCHES}
    assert large == {each for each in LARGER if each.startswith(f"{name(path)}:")}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_module_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MODULE


def changed(tree):
    """The names outside of a function that some function of the module changes."""
    own = {target.id for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign))
           for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
           if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        match node:
            case ast.Global():
                yield from node.names
            case (ast.Subscript(value=ast.Name(id=base), ctx=ast.Store() | ast.Del())
                  | ast.Attribute(value=ast.Name(id=base), ctx=ast.Store() | ast.Del())
                  | ast.Call(func=ast.Attribute(value=ast.Name(id=base), attr=_))) \
                    if base in own:
                if not isinstance(node, ast.Call) or node.func.attr in CHANGING:
                    yield base


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_module_changes_what_it_holds(path):
    assert not set(changed(ast.parse(path.read_text())))


CHANGEABLE = (
    list, set, bytearray, collections.deque, io.IOBase,
    socket.socket, threading.Event, threading.Thread, type(threading.Lock()), asyncio.Event,
    asyncio.Lock, asyncio.Queue, queue.Queue, Iterator,
)


def is_steady(value):
    """Whether `value` is of a kind that stays as it is. A dict is taken for a table, which
    test_no_module_changes_what_it_holds sees to."""
    if isinstance(value, (tuple, dict)):
        return all(map(is_steady, value.values() if isinstance(value, dict) else value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value.__dataclass_params__.frozen
    return isinstance(value, type) or not isinstance(value, CHANGEABLE)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_what_a_module_holds_stays_as_it_is(path):
    module = importlib.import_module(
        ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"))
    held = {key: value for key, value in vars(module).items() if not key.startswith("__")}
    caches = {f"{name(path)}:{key}" for key, value in held.items()
              if hasattr(value, "cache_info")
              and (f"{name(path)}:{key}" in CACHES or value.__module__ == module.__name__)}
    assert {key for key, value in held.items() if not is_steady(value)} == set()
    assert caches == {each for each in CACHES if each.startswith(f"{name(path)}:")}


@pytest.mark.parametrize("source, is_found", [
    ("known = {}\ndef add(key): known[key] = 1", True),
    ("known = []\ndef add(key): known.append(key)", True),
    ("count = 0\ndef add():\n    global count\n    count += 1", True),
    ("TABLE = {1: 2}\ndef find(key): return TABLE.get(key)", False),
    ("def collect():\n    found = []\n    found.append(1)\n    return found", False),
])
def test_this_test_finds_what_a_module_changes(source, is_found):
    assert bool(set(changed(ast.parse(source)))) is is_found


TESTS = sorted(Path(__file__).parent.rglob("*.py"))
FOREIGN_PRIVATE = {"os._exit"}


def private_names(tree):
    """What of another object or module begins with one underscore."""
    def is_private(text):
        return text.startswith("_") and not text.startswith("__") and text != "_"

    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=attribute) if is_private(attribute):
                yield ast.unparse(node)
            case ast.ImportFrom(module=str(module)) if module.startswith("chatmaild"):
                yield from (each.name for each in node.names if is_private(each.name))
            case ast.Call(func=ast.Attribute(attr="setattr"),
                          args=[ast.Constant(str(text)), *_] | [_, ast.Constant(str(text)), *_]):
                yield from [text] if is_private(text.rpartition(".")[2]) else []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_tests_know_only_what_everybody_may(path):
    assert set(private_names(ast.parse(path.read_text()))) <= FOREIGN_PRIVATE
