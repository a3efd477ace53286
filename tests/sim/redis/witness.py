"""The witness: tells the truth what the server has executed, in the order in which it did, whoever hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from actors.store.port import Batch
from actors.store.redis.batch import encode
from actors.store.redis.outcome import decode

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.truth import Truth


class Witness:
    """Knows which batch was meant by what is sent, and until when the server takes each holder for alive."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._meant: dict[tuple[str, int, bytes], Batch] = {}
        self._leases: dict[str, float] = {}  # of the holders that are open, in seconds
        self._left: set[object] = set()  # openings that have been ended

    def means(self, holder: str, tick: int, batch: Batch) -> None:
        """What the next commit of this holder will send. (The queue may change its batch before it tries again.)"""
        fields = (field.name for field in attrs.fields(Batch))
        kept = {name: getattr(batch, name) for name in fields}
        copied = {name: list(value) if isinstance(value, list) else value for name, value in kept.items()}
        self._meant[holder, tick, encode(holder, batch)] = Batch(**copied)

    def executed(self, function: str, arguments: Sequence[str | bytes | int], reply: bytes) -> None:
        """The server has done this now."""
        match function:
            case "commit" | "report":
                self._committed(*arguments[:3], reply)  # type: ignore[arg-type]
            case "enroll" if arguments[3] not in self._left and str(arguments[0]) not in self._leases:
                self._lives(str(arguments[0]), int(arguments[1]) / 1_000)
                self._leases[str(arguments[0])] = int(arguments[1]) / 1_000
            case "beat":
                for holder, lease in zip(arguments[::2], arguments[1::2], strict=True):
                    if holder in self._leases:
                        self._lives(str(holder), int(lease) / 1_000)
                        self._leases[str(holder)] = int(lease) / 1_000
            case "dismiss":
                self._left.add(arguments[1])
                self._leases.pop(str(arguments[0]), None)
                self._process(str(arguments[0])).closes()
            case "sweep":
                self._truth.ledger.sweep(int(arguments[0]))

    def _committed(self, holder: str, tick: int, blob: bytes, reply: bytes) -> None:
        if reply.startswith(b"!"):
            return
        process, batch = self._process(holder), self._meant.get((holder, tick, blob))
        if batch is None:
            self._truth.break_off(f"{process} has sent as tick {tick} what is none")
            return
        if holder not in self._leases:
            self._truth.break_off(f"{process} commits tick {tick} after its goodbye")
            return
        if not self._truth.is_repeat(process, tick):
            lease = self._leases[holder]
            if process.lives_until - trio.current_time() < lease / 2:
                self._lives(holder, lease)
        self._truth.committed(process, tick, batch, decode(reply).outcome, fresh=True)

    def _process(self, holder: str) -> Process:
        return self._truth.processes[holder]

    def _lives(self, holder: str, lease: float) -> None:
        at = int(trio.current_time() * 1_000 + 1e-6) / 1_000  # the server's clock has no more digits
        self._process(holder).is_alive(at + lease)
