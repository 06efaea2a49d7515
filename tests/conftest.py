"""Fixtures for more than one unit test."""

import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def public_path():
    """A directory that other users may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="chatmaild-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
