"""What the tests of the ready-made jobs share: a context to run a body in, and real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trustme
from aiosmtpd.smtp import SMTP

from actors import Registry
from actors.core.job import NO_DETAILS, JobRecord, JobSpec, Standing

NOW = 1_790_000_000_000_000  # an instant in 2026, in microseconds


@attrs.define
class Context:
    """The `JobContext` of a body that runs without a system: it keeps what the body says."""

    job: JobRecord
    state: Any = None
    lines: list[str] = attrs.Factory(list)
    told: list[tuple[float, str | None]] = attrs.Factory(list)
    fence: int = 1
    cancelled_because: None = None

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self.told.append((done, message))

    def log(self, text: str, /) -> None:
        self.lines.append(text)

    def enqueue(self, job: Any, /, *, now: bool = False, **options: Any) -> Any:
        raise NotImplementedError

    def resource(self, kind: type[Any]) -> Any:
        raise LookupError

    async def save(self, state: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.state = state


@attrs.define
class Performance:
    """Runs jobs as a worker does: through JSON and the registry's middleware. `ctx` is the context of the
    last run."""

    now: int = NOW
    ctx: Context | None = None

    async def __call__(self, registry: Registry, job: Any, *, state: Any = None, id: str = "job-1") -> Any:
        definition, payload = registry.resolve(job)
        text = definition.encode(payload)
        spec = JobSpec(id, definition.name, text, "default", 1, 0, 3, None, self.now, None, NO_DETAILS)
        standing = Standing(1, "running", 2, 0, 1, 0, self.now, self.now, None, "here")
        self.ctx = Context(JobRecord(spec, standing), state)
        run: Callable[[], Awaitable[Any]] = partial(definition.call, self.ctx, definition.decode(text))
        for wrap in reversed(definition.middleware):
            run = partial(wrap, self.ctx, run)
        return await run()


@pytest.fixture
def perform() -> Performance:
    return Performance()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    def make(*names: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(context)
        return context

    return make


@attrs.define
class Mailroom:
    """A real SMTP server's handler: keeps the mails, and refuses whom it is told to. `refused` is address ->
    reply."""

    refused: dict[str, str] = attrs.Factory(dict)
    refused_senders: dict[str, str] = attrs.Factory(dict)
    data_reply: str = "250 OK"
    quit_reply: str = "221 Bye"
    mails: list[Any] = attrs.Factory(list)
    sessions: list[Any] = attrs.Factory(list)

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        self.sessions.append(session)
        reply = self.refused_senders.get(address)
        if reply is None:
            envelope.mail_from = address
        return reply or "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        reply = self.refused.get(address)
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.data_reply.startswith("250"):
            self.mails.append(envelope)
        return self.data_reply

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        return self.quit_reply


@pytest.fixture
def smtp_server() -> Iterator[Callable[..., int]]:
    """`start(handler, tls=None, **options)` runs an aiosmtpd server on 127.0.0.1 and gives its port."""
    with contextlib.ExitStack() as stack:

        def start(handler: Any, *, tls: ssl.SSLContext | None = None, **options: Any) -> int:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            loop = asyncio.new_event_loop()

            async def serve() -> None:
                await loop.create_server(
                    lambda: SMTP(handler, hostname="mx", loop=loop, **options), sock=listening, ssl=tls
                )

            loop.run_until_complete(serve())
            thread = threading.Thread(target=loop.run_forever)
            thread.start()

            def stop() -> None:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0))
                loop.close()

            stack.callback(stop)
            port: int = listening.getsockname()[1]
            return port

        yield start


@attrs.define
class Request:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


Reply = tuple[int, dict[str, str], bytes]


@attrs.define
class Receiver:
    """A real HTTP server on loopback: `reply` says what is answered, `requests` are those that came."""

    host: str
    port: int = 0
    reply: Callable[[Request], Reply] = lambda request: (200, {}, b"ok")
    requests: list[Request] = attrs.Factory(list)

    def url(self, path: str = "/hook") -> str:
        return f"http://{self.host}:{self.port}{path}"


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """`start(reply=..., host="127.0.0.1", port=0, tls=None)` runs a server and gives its `Receiver`."""
    with contextlib.ExitStack() as stack:

        def start(
            reply: Callable[[Request], Reply] | None = None,
            *,
            host: str = "127.0.0.1",
            port: int = 0,
            tls: ssl.SSLContext | None = None,
        ) -> Receiver:
            made = Receiver(host)
            if reply is not None:
                made.reply = reply

            class Handler(http.server.BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    body = self.rfile.read(int(self.headers.get("content-length", 0)))
                    headers = {name.lower(): text for name, text in self.headers.items()}
                    made.requests.append(Request(self.path, headers, body))
                    status, answer, content = made.reply(made.requests[-1])
                    self.send_response(status)
                    for name, text in answer.items():
                        self.send_header(name, text)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    with contextlib.suppress(OSError):  # the job need not read all of it
                        self.wfile.write(content)

                do_GET = do_POST

                def log_message(self, format: str, *args: Any) -> None:
                    pass

            server = http.server.ThreadingHTTPServer((host, port), Handler)
            server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # refused handshakes
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            made.port = server.server_address[1]
            thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
            thread.start()

            def stop() -> None:
                server.shutdown()
                server.server_close()
                thread.join()

            stack.callback(stop)
            return made

        yield start


class Resolver(trio.abc.HostnameResolver):
    """A name server of the test's own: each look-up of a name takes the next of its answers, and the last one
    for ever."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self.names[name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


@pytest.fixture
def resolver() -> Callable[[dict[str, list[list[str]]]], Resolver]:
    """Install a `Resolver` for this trio run."""

    def install(names: dict[str, list[list[str]]]) -> Resolver:
        made = Resolver(names)
        trio.socket.set_custom_hostname_resolver(made)
        return made

    return install


@pytest.fixture
def mailroom() -> Mailroom:
    return Mailroom()
