"""What the machines do to a system fills no log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    log = logging.getLogger("actors")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)
