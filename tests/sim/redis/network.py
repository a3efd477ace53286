"""The network: every call that any process makes of the server, and the news that it publishes. It lies.

A request may be lost, or come late (after its caller has given up and asked again), or be executed twice; an answer may
be lost or late; the server may refuse; the news may be lost, late or doubled; a process may be cut off; and the server
may die and come again, which cuts every line. What the server has executed it keeps.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, cast

import trio
from coredis import exceptions

from actors.store.redis import library
from tests.sim.redis.client import PREFIX, Call, Client, Ear, Fate
from tests.sim.redis.engine import Engine, Refusal, engine
from tests.sim.redis.witness import Witness

if TYPE_CHECKING:
    from tests.sim.run import House

NEWS: Final = f"{PREFIX}news"
SLOW: Final = (0.001, 0.02, 0.3)  # seconds of a slow way
LATE: Final = (0.5, 1.5, 4.0, 8.0)  # ... of a late one: the timeout is 5, and 1 in the shield of a commit
DOWN: Final = (0.0, 0.5, 2.0, 15.0)  # seconds for which a server that has died is away
HANGS_UP: Final = (0.0, 0.02, 0.3)  # seconds after which a broken line is noticed, if it is

FATES: Final[tuple[Fate, ...]] = (
    "refused", "request lost", "answer lost", "answer lost", "request late", "request late", "answer late", "doubled",
)  # fmt: skip
REFUSALS: Final = (
    lambda: exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    lambda: exceptions.ReadOnlyError("You can't write against a read only replica."),
)
FULL: Final = (*REFUSALS, lambda: exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'."))


class Network:
    """The one of a history. `nursery` is that of the house: what is under way goes on without who sent it."""

    def __init__(self, house: House) -> None:
        world = house.world
        self.house = house
        self.calls = 0
        self.is_down = False
        self.under_way = 0  # calls that were sent and have not come to their end
        self.witness = Witness(house.truth)
        self._clients: list[Client] = []
        self._rng = random.Random(f"{world.seed} network")
        self._engine: Engine = engine()
        self._engine.reset(NEWS, knows_library=self._rng.random() < 0.9)

    # The server

    def restart(self) -> None:
        """The server dies and comes again with all that it had executed."""
        if self.is_down:
            return
        away = self._rng.choice(DOWN)
        forgets = self._rng.random() < 0.2  # a replica may not have had the library
        self.house.truth.say("server", f"dies for {away} s{' and forgets its library' if forgets else ''}")
        self.is_down = True
        if forgets:
            self._engine.forget()
        for client in self._clients:
            client.process.is_disturbed()
            client.break_off("Connection reset by peer")
        self.house.nursery.start_soon(self._come_up, away)

    async def _come_up(self, after: float) -> None:
        await trio.sleep(after)
        self.come_up()

    def come_up(self) -> None:
        """It is there again."""
        if self.is_down:
            self.house.truth.say("server", "is there again")
            self.is_down = False

    def load(self, code: str) -> None:
        """Give the server a library."""
        self._engine.load(code)

    def execute(self, call: Call) -> bytes:
        """Happens now, and is judged at once."""
        self.calls += 1
        name = call.function.removeprefix(f"{library.NAME}_")
        reply = self._engine.call(trio.current_time(), call.function, PREFIX, call.arguments)
        self.witness.executed(name, call.arguments, reply.value)
        for message in reply.news:
            for client in list(self._clients):
                if client.ear is not None:
                    self.house.nursery.start_soon(self._bring, client, client.ear, message)
        return cast(bytes, reply.value)

    # What is under way

    def add(self, client: Client) -> None:
        """A line is up."""
        self._clients.append(client)

    def drop(self, client: Client) -> None:
        """It is down."""
        self._clients.remove(client)

    def send(self, client: Client, call: Call) -> None:
        """On its way, whatever becomes of the caller."""
        process = client.process
        if not process.port.calm and self._rng.random() < self.house.world.faults:
            call.fate = self._rng.choice(FATES)
            self.house.truth.say(process, f"{call.function[-8:].rpartition('_')[2]} will be {call.fate}")
        self.house.nursery.start_soon(self._send, client, call)

    async def _send(self, client: Client, call: Call) -> None:
        self.under_way += 1
        await self._carry(client, call)
        self.under_way -= 1

    async def _carry(self, client: Client, call: Call) -> None:
        rng, process = self._rng, client.process
        line = client.line
        await self._way(client)
        if call.fate == "refused":
            call.be_answered(rng.choice(FULL if call.function.endswith("_commit") else REFUSALS)())
            return
        if call.fate == "request lost":
            await self._hang_up(client, call)
            return
        if call.fate == "request late":
            await trio.sleep(rng.choice(LATE))
        if not process.dead:
            await process.port.heard()
        if self.is_down or (line is not client.line and call.fate == "good"):
            call.be_answered(exceptions.ConnectionError("Connection refused"))
            return
        try:
            answer: bytes | BaseException = self.execute(call)
        except Refusal as error:
            answer = exceptions.ResponseError(str(error).removeprefix("ERR "))
        if call.fate == "doubled":
            self.under_way += 1
            self.house.nursery.start_soon(self._again, call)
        if call.fate == "answer lost":
            await self._hang_up(client, call)
            return
        if call.fate == "answer late":
            await trio.sleep(rng.choice(LATE))
        await self._way(client)
        if not process.dead:
            await process.port.heard()
        call.be_answered(answer if line is client.line else exceptions.ConnectionError("Connection reset by peer"))

    async def _again(self, call: Call) -> None:
        await trio.sleep(self._rng.choice((0.0, *SLOW, *LATE)))
        if not self.is_down:
            try:
                self.execute(call)
            except Refusal:
                pass  # nobody hears of it
        self.under_way -= 1

    async def _way(self, client: Client) -> None:
        world = self.house.world
        if not client.process.port.calm and self._rng.random() < world.slow:
            await trio.sleep(self._rng.choice(SLOW))
        else:
            await trio.lowlevel.checkpoint()

    async def _hang_up(self, client: Client, call: Call) -> None:
        if self._rng.random() < 0.5:
            await trio.sleep(self._rng.choice(HANGS_UP))
            call.be_answered(exceptions.ConnectionError("Connection reset by peer"))

    async def all_arrived(self) -> None:
        """Until nothing that was sent in the storm is under way: a dead process may have asked for a pause."""
        with trio.move_on_after(2 * max(LATE)):
            while self.under_way:
                await trio.sleep(0.1)

    # News

    async def _bring(self, client: Client, ear: Ear, message: bytes) -> None:
        rng, process = self._rng, client.process
        if not process.port.calm and rng.random() < self.house.world.odd_wakes:
            match rng.choice(["lost", "late", "doubled"]):
                case "lost":
                    return
                case "late":
                    await trio.sleep(rng.choice(LATE))
                case _:
                    ear.hear(message)
                    await trio.sleep(rng.choice(LATE))
        if not process.dead:
            await process.port.heard()
        ear.hear(message)
