"""A request's reply address: answered once, before or during the wait; an asker may leave."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.core.errors import NotFound
from actors.mailbox import Reply, answer, decline, nobody


async def test_an_answer_may_come_before_the_wait():
    reply: Reply[int] = Reply()
    answer(reply, 7)
    assert await reply.wait() == 7


async def test_an_answer_wakes_the_asker_and_an_error_is_raised_there():
    good: Reply[int] = Reply()
    bad: Reply[int] = Reply()
    got: list[int] = []

    async def ask() -> None:
        got.append(await good.wait())
        with pytest.raises(NotFound):
            await bad.wait()
        got.append(8)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        answer(good, 7)
        await wait_all_tasks_blocked()
        decline(bad, NotFound("job", "x"))
    assert got == [7, 8]


@pytest.mark.parametrize("answered", [False, True])
async def test_an_asker_that_is_cancelled_has_left_and_may_be_answered(answered: bool):
    reply: Reply[int] = Reply()
    if answered:
        answer(reply, 7)
    with trio.CancelScope() as scope:
        scope.cancel()
        await reply.wait()
    assert scope.cancelled_caught
    assert reply.has_left
    if not answered:
        answer(reply, 7)  # no error, and nobody is woken
        await wait_all_tasks_blocked()


async def test_a_request_is_answered_once():
    reply = nobody()
    assert reply.has_left
    answer(reply, None)
    with pytest.raises(RuntimeError, match="once"):
        answer(reply, None)
