"""The README keeps its word: its example runs, its table is the code's, and it has exactly two set-up commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from actors.core.lifecycle import TRANSITIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_runs_as_it_is_printed(tmp_path: Path) -> None:
    example = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "trio.run(main)" in block)
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello, trio!\n"
    code = [line for line in example.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(code) <= 15


def test_every_python_block_compiles() -> None:
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        compile(block, "README.md", "exec")


def test_the_table_of_steps_is_the_lifecycle() -> None:
    lines = [f"| {step} | {', '.join(steps)} | {next(iter(steps.values()))} |" for step, steps in TRANSITIONS.items()]
    table = "| step | from | to |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    assert table in README, f"put this into README.md:\n{table}"


def test_there_are_exactly_two_setup_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.M)
    assert len(commands) == 2
    assert "actors serve" in commands[0]
    assert "pytest" in commands[1]
