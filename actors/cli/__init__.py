"""The command line. Names only."""

from actors.cli.main import main

__all__ = ["main"]
