"""A server that speaks S3, and a bucket on it for each test."""

import pytest

from tests.storage.object_stores.servers import ObjectServer, use


@pytest.fixture(scope="session")
def object_server():
    server = ObjectServer()
    yield server
    server.close()


@pytest.fixture
def bucket(object_server, monkeypatch):
    """URL of an empty bucket, which the environment tells how to reach."""
    use(monkeypatch, object_server.endpoint)
    return object_server.make_bucket()
