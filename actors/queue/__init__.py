"""The queue actor: its messages, and the rooms in which it folds them into one batch a tick."""

from actors.queue.actor import Queue
from actors.queue.floor import Books
from actors.queue.lane import Lane
from actors.queue.messages import (
    Accepted,
    Act,
    Ended,
    Enqueue,
    Finish,
    Fire,
    Fired,
    Hire,
    Keep,
    Lost,
    Message,
    Noted,
    Ping,
    Report,
    Resize,
    Save,
    StopClaiming,
    Stuck,
    Ticked,
    Wake,
)

__all__ = [
    "Accepted",
    "Act",
    "Books",
    "Ended",
    "Enqueue",
    "Finish",
    "Fire",
    "Fired",
    "Hire",
    "Keep",
    "Lane",
    "Lost",
    "Message",
    "Noted",
    "Ping",
    "Queue",
    "Report",
    "Resize",
    "Save",
    "StopClaiming",
    "Stuck",
    "Ticked",
    "Wake",
]
