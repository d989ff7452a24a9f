"""A bucket for each test."""

import pytest

from tests.storage.object_stores.servers import use


@pytest.fixture
def bucket(object_server, monkeypatch):
    """URL of an empty bucket, which the environment tells how to reach."""
    use(monkeypatch, object_server.endpoint)
    return object_server.make_bucket()
