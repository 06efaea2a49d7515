"""Holds the map of HACKING.md: which room may import which, and who imports foreign packages."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chatmaild.cli import DAEMONS, WITHOUT_OPENSSL

SRC = Path(__file__).parents[1] / "src"

BASE = {"errors", "address", "cellrate", "slimimport", "metrics"}
STORES = {"config", "disk", "accounts"}

# What the modules of a room (or a module outside of any) may import beside their own room.
MAY_IMPORT = {
    "errors": set(), "address": set(), "cellrate": set(), "slimimport": set(), "metrics": set(),
    "message": set(),
    "dkim": {"address", "errors", "slimimport"},
    "disk": {"errors"},
    "config": {"address", "disk", "errors"},
    "console": {"errors"},
    "daemon": {"config", "errors", "metrics"},
    "accounts": {"address", "cellrate", "config", "disk", "errors"},
    "filter": {"accounts", "address", "cellrate", "config", "daemon", "dkim", "errors", "message",
               "metrics"},
    "push": STORES | {"address", "daemon", "errors", "metrics"},
    "retention": STORES | {"errors", "push"},
    "services": BASE | STORES | {"console", "daemon", "dkim", "filter", "message", "push",
                                 "retention"},
    "admin": BASE | STORES | {"admin.links", "admin.web", "console", "daemon", "dkim", "filter",
                              "message", "push", "retention"},
    "admin.servers": {"errors"},
    "admin.dns": {"admin.servers", "config", "console", "dkim", "errors"},
    "admin.links": {"console"},
    "admin.web": {"admin.links", "config", "console", "daemon", "disk", "errors", "push",
                  "retention"},
    "admin.wiring": {"accounts", "admin.servers", "config", "console", "disk", "errors"},
    "admin.check": {"accounts", "admin.dns", "admin.servers", "admin.wiring", "config", "console",
                    "daemon", "dkim", "errors", "retention"},
    "cli": {"config", "console", "daemon", "errors", "slimimport"},
    "__main__": {"cli"},
}
FOREIGN = {
    "jinja2": {"chatmaild.admin.web.pages"},
    "segno": {"chatmaild.admin.links"},
    "systemd": {"chatmaild.daemon.systemd"},
    "daemon": {"chatmaild.daemon.process"},
    "aiohttp": {"chatmaild.push.httpclient"},
    "dkim": {"chatmaild.dkim.crypto"},
    "nacl": {"chatmaild.dkim.crypto"},
    "authres": {"chatmaild.dkim.results"},
    "dns": {"chatmaild.dkim.dnsquery", "chatmaild.dkim.zonefile"},
    "milter": {"chatmaild.filter.milter"},
    "psycopg2": {"chatmaild.accounts.directorylines"},
}
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SRC / "chatmaild").rglob("*.py"))
}
ROOMS = {
    name: text for name, path in MODULES.items()
    if path.name == "__init__.py" and "May import `" in (text := path.read_text())
}

# What decides is a function of values: these ask nothing of the world.
OF_THE_WORLD = {"logging", "os", "socket", "threading", "time"}
RULES = [name for name in MODULES if name.startswith(("chatmaild.message.", "chatmaild.dkim."))
         and name not in ("chatmaild.dkim.dnsquery", "chatmaild.dkim.resolver")] + [
    "chatmaild.accounts.signup", "chatmaild.address", "chatmaild.admin.check.names",
    "chatmaild.admin.check.policies", "chatmaild.admin.dns.addresses",
    "chatmaild.admin.dns.questions", "chatmaild.admin.dns.signers", "chatmaild.admin.dns.spf",
    "chatmaild.admin.dns.wanted", "chatmaild.admin.web.facts",
    "chatmaild.admin.web.mailconfig", "chatmaild.config.values",
    "chatmaild.daemon.dictproto", "chatmaild.disk.maildirname", "chatmaild.cellrate",
    "chatmaild.filter.client", "chatmaild.filter.headers", "chatmaild.filter.incoming",
    "chatmaild.filter.outgoing", "chatmaild.filter.questions", "chatmaild.filter.rates",
    "chatmaild.filter.recipients", "chatmaild.filter.replies", "chatmaild.filter.transaction",
    "chatmaild.push.backoff", "chatmaild.push.expectation", "chatmaild.push.protocol",
    "chatmaild.push.turn",
    "chatmaild.retention.rules",
]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def room(module):
    """``admin.check`` for chatmaild.admin.check.postfix, ``cli`` for chatmaild.cli."""
    within, parts = ".".join(module.split(".")[1:3]), module.split(".")
    return within if within in MAY_IMPORT else "".join(parts[1:2])


def test_every_module_and_room_is_in_the_table():
    assert {room(module) for module in MODULES} - {""} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", [name for name in MAY_IMPORT if f"chatmaild.{name}" in ROOMS])
def test_a_room_says_what_it_may_import(name):
    said = ROOMS[f"chatmaild.{name}"].partition("May import")[2]
    assert set(re.findall(r"`([a-z.]+)`", said)) == MAY_IMPORT[name]


def test_rooms_import_each_other_in_one_direction():
    def reach(name, seen):
        for other in MAY_IMPORT[name] - seen:
            seen |= {other} | reach(other, seen | {other})
        return seen
    assert not [name for name in MAY_IMPORT if name in reach(name, set())]


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_imports_go_one_way(module):
    for name in imports(MODULES[module]):
        if name.startswith("chatmaild.") and room(name) != room(module):
            assert room(name) in MAY_IMPORT[room(module)], f"{module} must not import {name}"
        assert not (name.startswith("chatmaild.services.") and room(module) == "services"), (
            f"{module} imports another service: {name}")


@pytest.mark.parametrize("module", MODULES)
def test_each_foreign_package_has_one_importer(module):
    for name in imports(MODULES[module]):
        top = name.split(".")[0]
        if top != "chatmaild" and top not in sys.stdlib_module_names:
            allowed = FOREIGN.get(top, ())
            assert module in allowed, f"{module} imports {top}; HACKING.md says who may"


@pytest.mark.parametrize("module", RULES)
def test_rules_ask_nothing_of_the_world(module):
    used = {name.split(".")[0] for name in imports(MODULES[module])}
    assert not used & OF_THE_WORLD, f"{module} must be a function of values"


@pytest.mark.parametrize("service", ["doveauth", "recipients"])
def test_a_service_loads_the_directory_of_several_hosts_only_when_one_is_set(service):
    code = (f"import sys, chatmaild.services.{service}\n"
            "sys.exit('chatmaild.accounts.directory' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SRC)},
                   check=True)


HEAVY = {"aiohttp", "ast", "asyncio.sslproto", "cryptography", "dis", "email", "gettext", "http",
         "jinja2", "locale", "multiprocessing", "shutil", "tempfile", "unittest", "urllib.request"}
"""Modules that would cost each service 0.1 MB or more."""


@pytest.mark.parametrize("service", DAEMONS)
def test_a_service_that_starts_loads_no_heavy_module(service):
    code = ("import sys; from chatmaild import cli; cli.build_parser(sys.argv[1:]);"
            "print(*(name for name in sys.modules if getattr(sys.modules[name], '__spec__', 0)))")
    done = subprocess.run([sys.executable, "-c", code, service], text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE)
    needless = HEAVY | ({"ssl", "_hashlib"} if service in WITHOUT_OPENSSL else set())
    assert not needless & set(done.stdout.split())
