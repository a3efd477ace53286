"""`actors serve` as a newcomer runs it: a real process, real requests, real signals."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import actors
from actors.cli.banner import print_banner

APP = """
import time, threading
import trio, actors

jobs = actors.Registry()

@jobs.job()
async def nap(seconds: float) -> str:
    await trio.sleep(seconds)
    return "slept"

@jobs.job(type="deaf")
async def deaf(seconds: float) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)

@jobs.job(type="blocking")
async def blocking(seconds: float) -> None:
    time.sleep(seconds)

@jobs.job(queue="elsewhere")
def busy(seconds: float) -> None:
    time.sleep(seconds)

def make() -> actors.Registry:
    made = actors.Registry()
    made.include(jobs)
    return made
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "myjobs.py").write_text(APP)
    return "myjobs:jobs"


@pytest.fixture
def hook() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """A server on loopback that takes webhooks: its port, and what came."""
    came: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1], came
    server.shutdown()
    server.server_close()
    thread.join()


CURL_LINES = r"""
curl -X POST http://localhost:8080/jobs -H "Content-Type: application/json" \
  -d '{"type": "send_email", "to": "test@example.com", "subject": "Test", "body": "Hello World"}'
curl -X POST http://localhost:8080/jobs -H "Content-Type: application/json" \
  -d '{"type": "webhook", "url": "https://example.org/post", "payload": {"event": "test"}, "priority": "high"}'
curl -X POST http://localhost:8080/jobs/batch -H "Content-Type: application/json" -d '[{...}, {...}]'
curl http://localhost:8080/jobs/stats
curl http://localhost:8080/scheduler
curl -X POST http://localhost:8080/scheduler/health_log/run
curl http://localhost:8080/types
"""


def send_like_curl(words: list[str], url: str) -> tuple[int, Any]:
    """Send exactly what curl sends for these words."""
    method, headers, body, target = "GET", [("User-Agent", "curl/8.0"), ("Accept", "*/*")], b"", ""
    rest = iter(words[1:])
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, text = next(rest).partition(": ")
                headers.append((name, text))
            case "-d":
                body = next(rest).encode()
            case _:
                target = word
    host, path = re.fullmatch(r"http://([^/]+)(/.*)", target).groups()  # type: ignore[union-attr]
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {text}" for name, text in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        got = b""
        while chunk := wire.recv(65536):
            got += chunk
    head, _, content = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def test_every_curl_line_of_the_specification_works_as_written(start: Any, hook: Any) -> None:
    port, came = hook
    server = start("--webhook-allow", "127.0.0.0/8", "--email-failure-rate", "0")
    lines = [line for line in CURL_LINES.replace("\\\n", " ").splitlines() if line]
    answers = []
    for line in lines:
        line = line.replace("https://example.org/post", f"http://127.0.0.1:{port}/post")
        line = line.replace("[{...}, {...}]", '[{"type": "cleanup", "directory": "/nowhere"}, {"type": "nope"}]')
        answers.append(send_like_curl(shlex.split(line), server.url))
    assert [status for status, _ in answers] == [202, 202, 202, 200, 200, 200, 200]
    email, webhook, batch, stats, scheduler, ran, types = (answer for _, answer in answers)
    assert email == {
        "success": True,
        "jobId": email["jobId"],
        "type": "send_email",
        "priority": "normal",
        "status": "queued",
        "message": "Job queued for processing",
    }
    assert webhook["priority"] == "high"
    assert [one["status"] for one in batch["jobs"]] == ["enqueued", "failed"]
    assert stats["queue"]["enqueued"] == 3
    assert {(task["name"], task["schedule"]) for task in scheduler["tasks"]} == {
        ("health_log", "* * *"),
        ("queue_stats", "*/5 * *"),
    }
    assert ran == {"success": True, "task": "health_log"}
    assert types == {"types": ["cleanup", "send_email", "webhook"]}
    assert server.until(email["jobId"], "completed")["result"]["simulated"] is True
    server.until(webhook["jobId"], "completed")
    assert [(path, json.loads(body)) for path, body in came] == [("/post", {"event": "test"})]
    assert server.request("POST", "/scheduler/nope/run") == (
        404,
        {
            "type": "urn:actors:schedule-not-found",
            "title": "Not found",
            "status": 404,
            "detail": "Task not found: nope",
            "error": "Task not found: nope",
        },
    )
    assert server.request("POST", "/jobs", {"type": "nope"})[1]["registeredTypes"] == types["types"]
    server.signal(signal.SIGINT)
    assert server.end()[0] == 0
    assert "health " in server.logged and "Traceback" not in server.logged


def test_simulated_mail_is_retried_until_it_is_dead(start: Any) -> None:
    server = start("--email-failure-rate", "1")
    id = server.enqueue("send_email", to="a@example.com", subject="s", body="b", maxAttempts=1)
    job = server.until(id, "dead")
    assert (job["status"], job["attempts"]) == ("failed", 1) and "simulated" in job["error"]
    stats = server.request("GET", "/jobs/stats")[1]["queue"]
    assert (stats["failed"], stats["processed"], stats["successRate"]) == (1, 1, "0.0")


def test_the_banner_tells_where_what_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = actors.Registry()

    @jobs.job(queue="elsewhere")
    async def busy() -> None: ...

    url = "http://127.0.0.1:8080"
    queues = {"default": actors.Queue(4), "mail": actors.Queue(2)}
    print_banner(url, "redis://me:secret@host/0", queues, jobs, ["health_log (* * *)"], open=True)
    said = capsys.readouterr().out
    for word in (
        "redis://me:***@host/0",
        "default=4, mail=2",
        "busy",
        "health_log (* * *)",
        f"{url}/docs",
        "no tokens yet",
    ):
        assert word in said, word
    assert f"curl {url}/jobs/stats" in said and f"curl -X POST {url}/scheduler/NAME/run" in said
    assert "nobody here works on queue elsewhere of busy: add --queue elsewhere=N" in said
    print_banner(url, "memory:", queues, jobs, [], open=False)
    said = capsys.readouterr().out
    assert 'jobs/stats -H "Authorization: Bearer $TOKEN"' in said and f"curl {url}/healthz\n" in said


def test_options_come_from_the_environment_too(start: Any, app: str, free_port: int, tmp_path: Path) -> None:
    given = {
        "ACTORS_STORE": "sqlite:///env.db",
        "ACTORS_APP": app,
        "ACTORS_QUEUE": "a=1 b=2",
        "ACTORS_WORKERS": "3",
        "ACTORS_LOG_FORMAT": "json",
        "ACTORS_CLEANUP_ROOT": str(tmp_path / "old"),
        "PORT": str(free_port),
    }
    (tmp_path / "old").mkdir()
    server = start(**{**given, "ACTORS_PORT": str(free_port)})
    assert server.url == f"http://127.0.0.1:{free_port}"
    id = server.enqueue("cleanup", directory=str(tmp_path / "old"))
    assert server.until(id, "completed", "dead")["result"]["deleted"] == 0
    assert server.request("GET", "/queues")[1]["queues"][0]["name"] == "a"
    server.signal()
    server.end()
    assert "default=3, a=1, b=2" in server.said
    events = [json.loads(line) for line in server.err]
    started = next(event for event in events if event["event"] == "job:started")
    assert (started["job"], started["type"], started["attempt"]) == (id, "cleanup", 0)
    done = next(event for event in events if event["event"] == "job:completed")
    assert done["duration"] >= 0 and done["level"] == "info" and done["time"].endswith("Z")
    asked = next(event for event in events if event["event"] == "request")
    assert (asked["method"], asked["path"], asked["status"]) == ("POST", "/jobs", 202)
    assert not any("directory" in json.dumps(event) for event in events)  # never the payload
    assert (tmp_path / "env.db").exists()


def test_port_alone_is_heard(in_process: Any, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", str(free_port))
    with socket.create_server(("127.0.0.1", free_port)):
        done = in_process("serve")
    assert (done.code, done.err) == (1, f"actors: can't listen on 127.0.0.1 port {free_port}: Address already in use\n")


def kept(directory: Path, id: str) -> actors.JobRecord:
    """The job as the store has it."""

    async def look() -> actors.JobRecord:
        async with actors.open_system(actors.Registry(), store=f"sqlite:///{directory}/actors.db", queues={}) as system:
            return await system.get(id)

    return trio.run(look)


def test_a_stop_lets_short_jobs_finish(start: Any, app: str, tmp_path: Path) -> None:
    server = start("--app", app, "--grace", "5")
    id = server.enqueue("nap", seconds=0.6)
    server.until(id, "running")
    server.signal()
    code, took = server.end()
    assert (code, "Traceback" in server.logged) == (0, False)
    assert took < 0.6 + 0.5
    assert "stopped: 1 finished, 0 given back, 0 cancelled" in server.said
    assert kept(tmp_path, id).state == "completed"


def test_a_stop_gives_long_jobs_back_free_of_charge(start: Any, app: str, tmp_path: Path) -> None:
    server = start("--app", app, "--grace", "0.3")
    id = server.enqueue("nap", seconds=60)
    server.until(id, "running")
    status = []

    def ask() -> None:
        time.sleep(0.1)
        status.append(server.request("GET", "/jobs/stats"))

    asking = threading.Thread(target=ask)
    asking.start()
    server.signal()
    code, took = server.end()
    asking.join()
    assert (code, "Traceback" in server.logged) == (0, False)
    assert took < 0.3 + 1.0
    assert "0 finished, 1 given back" in server.said
    assert status[0][0] == 503 and status[0][1]["type"] == "urn:actors:shutting-down"
    job = kept(tmp_path, id)
    assert (job.state, job.attempt) == ("pending", 0)


def test_a_second_signal_ends_it_at_once(start: Any, app: str) -> None:
    server = start("--app", app, "--grace", "60")
    id = server.enqueue("nap", seconds=60)
    server.until(id, "running")
    server.signal(signal.SIGINT)
    time.sleep(0.3)
    assert server.process.poll() is None
    server.signal(signal.SIGTERM)
    code, took = server.end()
    assert (code, "Traceback" in server.logged) == (0, False)
    assert took < 1.0
    assert "1 given back" in server.said


@pytest.mark.parametrize("type", ["deaf", "blocking"])
def test_a_body_that_ignores_the_stop_can_not_hold_the_exit(start: Any, app: str, type: str) -> None:
    server = start("--app", app, "--grace", "0.3")
    id = server.enqueue(type, seconds=0 if type == "blocking" else 60)
    if type == "blocking":
        server.until(id, "completed")
        id = server.enqueue(type, seconds=60, delay=0.2)  # the loop answers nobody once it has begun
        time.sleep(0.6)
    else:
        server.until(id, "running")
    server.signal()
    code, took = server.end()
    assert code == 0 and took < 0.3 + 1.0 + 0.7
    assert id in server.logged and "ignored being stopped" in server.logged


def test_what_was_accepted_survives_a_kill(start: Any, app: str) -> None:
    server = start("--app", app, "--workers", "2")
    done = server.enqueue("nap", seconds=0)
    server.until(done, "completed")
    running = server.enqueue("nap", seconds=1.0)
    waiting = [server.enqueue("nap", seconds=0, delay=0.5) for _ in range(3)]
    server.until(running, "running")
    server.process.kill()
    server.end()
    again = start("--app", app)
    for id in (done, running, *waiting):
        again.until(id, "completed")
    assert again.request("GET", "/jobs/stats")[1]["queue"]["completed"] == 5


def test_an_open_address_needs_a_token(start: Any, in_process: Any) -> None:
    refused = in_process("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.code == 2
    assert "actors token create --owner YOU --role admin" in refused.err and "Traceback" not in refused.err
    assert in_process("serve", "--host", "0.0.0.0", "--port", "0", "--store", "memory:").code == 2
    token = in_process("token", "create", "--owner", "me", "--role", "admin").out.strip()
    server = start("--host", "0.0.0.0")
    assert server.request("GET", "/jobs")[0] == 401
    assert server.request("GET", "/jobs", headers={"Authorization": f"Bearer {token}"})[0] == 200
    id = server.request("POST", "/jobs", {"type": "cleanup", "directory": "/x"}, {"Authorization": f"Bearer {token}"})[
        1
    ]["jobId"]
    assert server.request("GET", f"/jobs/{id}", headers={"Authorization": f"Bearer {token}"})[1]["owner"] == "me"
    server.signal()
    assert server.end()[0] == 0
    assert "with a token: Authorization: Bearer TOKEN" in server.said
    assert token not in server.logged + server.said and "owner=me" in server.logged


WRONG: list[tuple[list[str], str]] = [
    (["--app", "nope:jobs"], "there is no module nope"),
    (["--app", "myjobs"], "expected module:registry"),
    (["--app", "myjobs:nope"], "module myjobs has no nope; its registries: jobs"),
    (["--app", "myjobs:trio"], "is a module: expected an actors.Registry"),
    (["--app", "broken:jobs"], "ZeroDivisionError: division by zero"),
    (["--app", "needs:jobs"], "No module named 'not_there'"),
    (["--app", "myjobs:jobs", "--app", "clash:jobs"], "'nap' is registered already"),
    (["--queue", "mail"], "expected NAME=N"),
    (["--queue", "mail=x"], "expected NAME=N"),
    (["--queue", "a b=1"], "--queue is 'a b'"),
    (["--queue", "a=1", "--queue", "a=2"], "only once"),
    (["--workers", "-1"], "--workers is -1"),
    (["--workers", "many"], "--workers"),
    (["--grace", "-1"], "--grace is -1"),
    (["--grace", "nan"], "--grace is nan"),
    (["--port", "70000"], "--port is 70000"),
    (["--queue-limit", "0"], "--queue-limit is 0"),
    (["--store", "postgres://x"], "memory:, sqlite:///path.db or redis://host:port/db"),
    (["--webhook-allow", "everything"], "--webhook-allow is 'everything'"),
    (["--email-failure-rate", "2"], "--email-failure-rate is 2.0"),
    (["--smtp-url", "http://x"], "--smtp-url"),
    (["--cleanup-root", "/"], "--cleanup-root"),
    (["--cors-origin", "example.org"], "--cors-origin is 'example.org'"),
    (["--max-body", "0"], "--max-body is 0"),
    (["--log-format", "xml"], "--log-format"),
    (["--colour", "red"], "--colour"),
    (["extra"], "extra"),
]


def test_every_wrong_option_is_one_clear_sentence(in_process: Any, app: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    (tmp_path / "clash.py").write_text(
        "import actors\njobs = actors.Registry()\n@jobs.job()\nasync def nap() -> None: ...\n"
    )
    for arguments, word in WRONG:
        port = [] if "--port" in arguments else ["--port", "0"]
        done = in_process("serve", *port, *arguments)
        assert done.code == 2, (arguments, done)
        said = " ".join(done.err.replace("│", " ").split())
        assert word in said and "Traceback" not in said, (arguments, said)
        assert not (tmp_path / "actors.db").exists(), arguments


def test_help_teaches(in_process: Any) -> None:
    assert "curl -X POST http://localhost:8080/jobs" in in_process("--help").out
    said = in_process("serve", "--help").out
    for word in (
        "--queue",
        "ACTORS_QUEUE",
        "--webhook-allow",
        "PORT",
        "sqlite:///actors.db",
        "actors token create",
        "Ctrl-C",
    ):
        assert word in said, word
    assert "only its hash is kept" in in_process("token", "create", "--help").out
