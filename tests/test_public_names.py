"""The public names are a promise: adding one is a decision, losing one breaks somebody."""

from __future__ import annotations

import subprocess
import sys

import actors

NAMES = [
    "ActorsError",
    "AlreadyRunning",
    "At",
    "AttemptError",
    "Audit",
    "BadOption",
    "BadPayload",
    "BadResult",
    "CallerError",
    "Cancel",
    "Clock",
    "Conflict",
    "CronExpression",
    "Discard",
    "Event",
    "Every",
    "Exponential",
    "Fixed",
    "Health",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobFailed",
    "JobHandle",
    "JobRecord",
    "JobTimeout",
    "JobType",
    "Linear",
    "Migration",
    "NotFound",
    "Options",
    "Queue",
    "QueueFull",
    "QueueInfo",
    "Refused",
    "RegistrationError",
    "Registry",
    "Retry",
    "ScheduleInfo",
    "ShutdownReport",
    "ShuttingDown",
    "Snooze",
    "Stats",
    "Steps",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreSilent",
    "System",
    "SystemClock",
    "TrioClock",
    "Unique",
    "UnknownType",
    "WorkerInfo",
    "WrongState",
    "migrate",
    "open_system",
    "run",
]


def test_the_public_names() -> None:
    assert sorted(actors.__all__) == sorted(NAMES)
    assert all(hasattr(actors, name) for name in NAMES)


def test_importing_the_package_loads_no_edge() -> None:
    """Embedding costs nothing that it does not use: no server, no command line, and cattrs only on first use."""
    code = "import sys, actors; print(*sorted({name.split('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    edges = ["starlette", "anycorn", "httpx2", "cyclopts", "rich", "structlog", "msgspec", "cattrs", "sqlite3"]
    done = subprocess.run([sys.executable, "-c", code, *edges], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
