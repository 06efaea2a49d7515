"""Fixtures for more than one unit test."""

import tempfile
from pathlib import Path

import postgresql
import pytest

from chatmaild.accounts import directoryschema


@pytest.fixture
def public_path():
    """A directory that other users may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="chatmaild-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def directory_server():
    """A PostgreSQL with the tables of the directory."""
    with postgresql.server() as server:
        directoryschema.init(server.conninfo("postgres"))
        yield server
