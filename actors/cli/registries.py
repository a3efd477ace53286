"""From `module:registry` to the registry, with an error that says what is missing where."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

from actors.cli.failure import Failure
from actors.core.registry import Registry


def load(given: str) -> Registry:
    """The registry that `module:name` names, or that a function of that name makes; the working directory is looked
    in first.
    """
    module_name, mark, name = given.partition(":")
    if not mark or not module_name or not name:
        raise Failure(f"--app {given}: expected module:registry, as in myjobs:jobs")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise Failure(
                f"--app {given}: there is no module {error.name} (looked in {here} and what is installed)"
            ) from None
        raise Failure(f"--app {given}: {_broken(module_name, error)}") from error
    except Exception as error:
        raise Failure(f"--app {given}: {_broken(module_name, error)}") from error
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise Failure(f"--app {given}: module {module_name} has no {name}{_there(module)}")
        found = getattr(found, part)
    if not isinstance(found, Registry) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise Failure(f"--app {given}: {name}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, Registry):
        raise Failure(
            f"--app {given}: {name} is a {type(found).__name__}: expected an actors.Registry, or a function making one"
        )
    return found


def _broken(module_name: str, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"importing {module_name} failed: {type(error).__name__}: {error}{where}"


def _there(module: object) -> str:
    names = sorted(name for name, member in vars(module).items() if isinstance(member, Registry))
    return f"; its registries: {', '.join(names)}" if names else ", and no registry at all"
