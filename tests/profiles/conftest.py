"""The hosts that people have: ``sudo make test-profiles``, or one by tests/rig/profile_runs."""

import os

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.profiles)
