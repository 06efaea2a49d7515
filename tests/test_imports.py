"""Holds the map of HACKING.md: imports go one way, and each foreign package has one importer."""

import ast
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"

# A module may import from layers of a lower number; within one layer only from its own package.
LAYERS = {
    "absent": -1,
    "errors": 0, "lean": 0, "wire": 0, "config": 1, "policy": 2, "store": 3,
    "runtime": 4, "console": 4, "workers": 4, "metrics": 4, "resolver": 4,
    "dictserver": 5, "milterserver": 5, "succession": 5,
    "outside": 5, "mailboxstates": 5, "pickup": 5, "handover": 5, "clientkeys": 5,
    "pushgateway": 5, "pushmetrics": 5,
    "pushsender": 6, "services": 7, "admin": 7, "cli": 8, "__main__": 9,
}
FOREIGN = {
    "segno": {"chatmaild.admin.links"},
    "systemd": {"chatmaild.runtime"},
    "daemon": {"chatmaild.runtime"},
    "aiohttp": {"chatmaild.pushgateway"},
    "dkim": {"chatmaild.wire.dkimcrypto"},
    "nacl": {"chatmaild.wire.dkimcrypto"},
    "authres": {"chatmaild.wire.authres"},
    "dns": {"chatmaild.resolver"},
    "milter": {"chatmaild.milterserver"},
}
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts): path
    for path in sorted((SRC / "chatmaild").rglob("*.py"))
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES or f"{name}.__init__" in MODULES else node.module


def layer(module):
    parts = module.split(".")
    return LAYERS[parts[1]] if len(parts) > 1 and parts[1] != "__init__" else 0


@pytest.mark.parametrize("module", [name for name in MODULES if name != "chatmaild.__init__"])
def test_imports_go_one_way(module):
    for name in imports(MODULES[module]):
        if name.split(".")[0] == "chatmaild":
            same_package = module.split(".")[1] == (name.split(".") + [""])[1]
            lower = layer(name) < layer(module)
            assert lower or (same_package and module.split(".")[1] != "services"), (
                f"{module} must not import {name}"
            )


@pytest.mark.parametrize("module", MODULES)
def test_each_foreign_package_has_one_importer(module):
    for name in imports(MODULES[module]):
        top = name.split(".")[0]
        if top != "chatmaild" and top not in sys.stdlib_module_names:
            allowed = FOREIGN.get(top, ())
            assert module in allowed, f"{module} imports {top}; HACKING.md says who may"
