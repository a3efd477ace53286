"""Measurements in a process of their own: memory and starts are only worth measuring where nothing else has been."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent


def in_child(module: str, *arguments: object) -> dict[str, float]:
    """What `python -m module arguments` prints: numbers by name, as JSON."""
    return read_child(sys.executable, ["-m", module, *map(str, arguments)])


def read_child(python: str, arguments: Sequence[str], *, quiet: bool = False) -> dict[str, float]:
    """What this Python prints: numbers by name, as JSON. `quiet`: what it says besides is shown only if it fails."""
    errors = subprocess.PIPE if quiet else None
    ran = subprocess.run([python, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)
    if ran.returncode != 0:
        said = (ran.stderr or b"").decode(errors="replace")[-2_000:]
        raise RuntimeError(f"{' '.join(arguments)} failed with {ran.returncode}\n{said}")
    found: dict[str, float] = json.loads(ran.stdout)
    return found
