"""The URL of a store on Redis says which server, and how it is used."""

from __future__ import annotations

import pytest

import actors.store
from actors.core.errors import BadOption
from actors.store.redis import RedisStore
from actors.store.redis.url import Options, read_url


def test_a_single_server() -> None:
    server, options = read_url("redis://localhost")
    assert (server.kind, server.hosts, server.db, server.tls) == ("single", (("localhost", 6379),), 0, None)
    assert options == {}
    server, options = read_url(
        "redis://ann:s%2Fcret@10.0.0.1:7000/3?prefix=shop&timeout=2.5&replicas=1&fsync=true&strict=1"
    )
    assert (server.hosts, server.db) == ((("10.0.0.1", 7000),), 3)
    assert (server.credentials.username, server.credentials.password) == ("ann", "s/cret")
    assert options == {"prefix": "shop", "timeout": 2.5, "replicas": 1, "fsync": True, "strict": True}
    assert read_url("redis://[::1]:7000?db=2")[0].hosts == (("::1", 7000),)
    assert read_url("redis://[::1]:7000?db=2")[0].db == 2
    assert read_url("valkey://h")[0] == read_url("redis://h")[0]


def test_sentinels_and_clusters() -> None:
    server, _ = read_url("redis+sentinel://:pw@a,b:26380/main/2?sentinel_password=other")
    assert (server.kind, server.service, server.db) == ("sentinel", "main", 2)
    assert server.hosts == (("a", 26379), ("b", 26380))
    assert (server.credentials.password, server.sentinel_credentials.password) == ("pw", "other")
    server, _ = read_url("redis+cluster://a:7000,b:7001")
    assert (server.kind, server.hosts) == ("cluster", (("a", 7000), ("b", 7001)))


def test_tls_checks_the_server_unless_told_otherwise() -> None:
    for scheme in ("rediss", "valkeys", "rediss+sentinel", "rediss+cluster"):
        path = "/main" if "sentinel" in scheme else ""
        tls = read_url(f"{scheme}://h{path}")[0].tls
        assert tls is not None and tls.check_hostname and tls.verify_mode.name == "CERT_REQUIRED"
    tls = read_url("rediss://h?ssl_cert_reqs=none")[0].tls
    assert tls is not None and not tls.check_hostname and tls.verify_mode.name == "CERT_NONE"


@pytest.mark.parametrize(
    "url",
    [
        "redis://a,b",
        "redis://h/x",
        "redis://h/1/2",
        "redis://h:port",
        "redis+cluster://h/1",
        "redis+sentinel://h",
        "redis+other://h",
        "redis://h?prefix={x}",
        "redis://h?prefix=",
        "redis://h?timeout=soon",
        "redis://h?timeout=0",
        "redis://h?replicas=-1",
        "redis://h?fsync=maybe",
        "redis://h?db=x",
        "redis://h?unknown=1",
        "rediss://h?ssl_cert_reqs=perhaps",
    ],
)
def test_what_is_wrong_is_named(url: str) -> None:
    with pytest.raises(BadOption):
        actors.store.store_from_url(url)


def test_no_secret_is_shown() -> None:
    store = RedisStore("redis+sentinel://ann:topsecret@h/main?sentinel_password=hidden")
    assert "topsecret" not in repr(store) and "hidden" not in repr(store)
    assert "topsecret" not in repr(store._server) and "hidden" not in repr(store._server)
    for url in (
        "redis://ann:topsecret@a,b",
        "redis://ann:topsecret@h:x",
        "redis://ann:top/secret@h",
        "redis://:top?secret@h",
    ):
        with pytest.raises(BadOption) as caught:
            read_url(url)
        assert "top" not in str(caught.value) and "secret" not in str(caught.value), url


def test_arguments_beat_the_url() -> None:
    store = RedisStore("redis://h?prefix=a&replicas=2", prefix="b", strict=True)
    assert store._options == Options(prefix="b", replicas=2, strict=True)
