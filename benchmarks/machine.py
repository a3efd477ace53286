"""The machine that the figures are of, and the memory of this process."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine(scratch: Path) -> dict[str, Any]:
    """What to print above the figures."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: version(name) for name in ("trio", "attrs", "cattrs", "orjson")},
        "sqlite": sqlite3.sqlite_version,
        "scratch": str(scratch),
    }


def rss() -> tuple[float, float]:
    """Resident memory of this process in MB (10**6 bytes): now, and the most that it ever was."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        # where there is no /proc; on Linux this would count what the parent had before the exec
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        return most, most
    lines = dict(line.split(":", 1) for line in status.splitlines())
    now, most = (int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return now, most


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
