"""What stops a command, as one sentence and an exit code."""

from __future__ import annotations

from typing import Final

from actors.core.errors import BadOption, CallerError, StoreError

COULD_NOT: Final = 1
USAGE: Final = 2


class Failure(Exception):
    """A command can't go on. The text says what, which and what was expected; the code whose fault it is."""

    def __init__(self, text: str, code: int = USAGE) -> None:
        super().__init__(text)
        self.code = code


def explained(error: BaseException) -> Failure | None:
    """The failure that a known error is, or carries, to who typed the command; None for a fault of ours."""
    match error:
        case Failure():
            return error
        case BadOption():
            return Failure(
                f"--{error.option.replace('_', '-').replace(' ', '-')} is {error.given!r}: expected {error.expected}"
            )
        case CallerError():
            return Failure(str(error))
        case StoreError():
            return Failure(str(error), COULD_NOT)
        case OSError() if type(error).__name__ == "CannotListen":  # by name: `--help` need not load a server
            return Failure(str(error), COULD_NOT)
        case BaseExceptionGroup() if len(error.exceptions) == 1:
            return explained(error.exceptions[0])
        case _:
            return None
