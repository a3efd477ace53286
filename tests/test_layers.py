"""The house stands: imports point down, never up, and the core knows neither trio nor I/O."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "actors"

# floor -> what it may import of this package; a room not named here is wiring and may import anything below the edges
CORE = ("actors.core",)
STORE = (*CORE, "actors.store")
FLOORS: dict[str, tuple[str, ...]] = {
    "core": CORE,
    "store": STORE,
    "clock": CORE,
    "mailbox": CORE,
    "body": CORE,
    "stats": STORE,
    "audit": STORE,
    "health": CORE,
    "intake": (*STORE, "actors.clock"),
    "queue": (*STORE, "actors.clock", "actors.mailbox", "actors.intake"),
    "audience": (*STORE, "actors.clock"),
    "hub": (*STORE, "actors.clock", "actors.mailbox", "actors.audience", "actors.queue"),
    "timetable": STORE,
    "dead_letters": (*STORE, "actors.mailbox", "actors.queue"),
}
EDGES = ("actors.server", "actors.cli", "actors.__main__", "actors.jobs", "actors.testing", "actors.logs")
PUBLIC_ONLY = ("jobs",)  # edges that need nothing but what users have
NO_TRIO = ("core",)
NO_IO = {"trio", "socket", "sqlite3", "subprocess", "threading", "os", "pathlib", "time", "http", "urllib"}


def rooms() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: imports are absolute here"
            found.update(_module(node.module, alias.name) for alias in node.names)
    return found


def _module(package: str, name: str) -> str:
    """`from package import name` names a module of the package, or something in it."""
    inner = ROOT.parent.joinpath(*package.split("."), name)
    is_module = inner.is_dir() or inner.with_suffix(".py").exists()
    return f"{package}.{name}" if is_module or package == "actors" else package


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def under(module: str, roots: tuple[str, ...]) -> bool:
    return any(module == root or module.startswith(root + ".") for root in roots)


@pytest.mark.parametrize("path", rooms(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    floor = floor_of(path)
    own = {module for module in imported(path) if module.split(".")[0] == "actors"}
    if floor in FLOORS:
        wrong = {module for module in own if not under(module, (*FLOORS[floor], f"actors.{floor}"))}
    elif floor in PUBLIC_ONLY:
        import actors

        public = {f"actors.{name}" for name in actors.__all__}
        wrong = {module for module in own if not under(module, (f"actors.{floor}", *public))}
    elif f"actors.{floor}" in EDGES:
        return
    else:
        wrong = {module for module in own if under(module, EDGES)}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", [path for path in rooms() if floor_of(path) in NO_TRIO], ids=lambda path: path.stem)
def test_the_core_does_no_io(path: Path) -> None:
    tops = {module.split(".")[0] for module in imported(path)}
    assert not tops & NO_IO, f"{path.name} imports {sorted(tops & NO_IO)}"


def test_there_are_no_circles() -> None:
    graph = {}
    for path in rooms():
        parts = ("actors", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[name] = {module for module in imported(path) if module.startswith("actors")} - {name}
    seen: dict[str, str] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if seen.get(name) == "done":
            return
        assert seen.get(name) != "open", f"a circle of imports: {' -> '.join((*trail, name))}"
        seen[name] = "open"
        for module in sorted(graph.get(name, ())):
            visit(module if module in graph else module.rpartition(".")[0], (*trail, name))
        seen[name] = "done"

    for name in sorted(graph):
        visit(name, ())
