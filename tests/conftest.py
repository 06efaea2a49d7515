"""Fixtures and settings for more than one unit test."""

import os
import tempfile
from pathlib import Path

import postgresql
import pytest
from hypothesis import HealthCheck, settings
from rig.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401  (hooks)

from chatmaild.accounts import directoryschema
from chatmaild.disk import atomic

# How long an example takes says nothing on a busy machine. In CI each run tries the same examples;
# what others may find by chance is found, and mended, elsewhere.
settings.register_profile("tests", deadline=None, derandomize=os.environ.get("CI") == "true",
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def patient_locks(monkeypatch):
    """Who waits for a lock gets it, however many wait and however slow the machine is."""
    monkeypatch.setattr(atomic, "LOCK_TIMEOUT", 60)


@pytest.fixture
def public_path():
    """A directory that other users may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="chatmaild-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def database():
    """A PostgreSQL with the tables of the directory."""
    with postgresql.server() as server:
        directoryschema.init(server.conninfo("postgres"))
        yield server


@pytest.fixture
def directory_server(database):
    """The same, with nothing in the tables."""
    database.sql("TRUNCATE account, invitation, node")
    return database
