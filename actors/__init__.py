"""A job system for trio programs: typed jobs, retries, schedules and dead letters, as actors in a nursery."""

from actors.audit import Audit
from actors.clock import Clock, SystemClock, TrioClock
from actors.core.context import Job, JobContext, JobHandle
from actors.core.definition import JobType
from actors.core.errors import (
    ActorsError,
    AlreadyRunning,
    BadOption,
    BadPayload,
    BadResult,
    CallerError,
    Cancel,
    Conflict,
    Discard,
    JobCancelled,
    JobFailed,
    JobTimeout,
    NotFound,
    QueueFull,
    Refused,
    RegistrationError,
    Retry,
    ShuttingDown,
    Snooze,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreSilent,
    UnknownType,
    WrongState,
)
from actors.core.events import Event
from actors.core.job import AttemptError, JobRecord
from actors.core.options import Options
from actors.core.registry import Registry
from actors.core.retry import Exponential, Fixed, Linear, Steps
from actors.core.schedule import At, CronExpression, Every
from actors.core.unique import Unique
from actors.handles import QueueInfo
from actors.health import Health
from actors.house import Queue, open_system, run
from actors.migration import Migration, migrate
from actors.stats import Stats
from actors.store import Store
from actors.system import ShutdownReport, System
from actors.timetable import ScheduleInfo
from actors.worker import WorkerInfo

__all__ = [
    "ActorsError",
    "AlreadyRunning",
    "At",
    "AttemptError",
    "Audit",
    "BadOption",
    "BadPayload",
    "BadResult",
    "CallerError",
    "Cancel",
    "Clock",
    "Conflict",
    "CronExpression",
    "Discard",
    "Event",
    "Every",
    "Exponential",
    "Fixed",
    "Health",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobFailed",
    "JobHandle",
    "JobRecord",
    "JobTimeout",
    "JobType",
    "Linear",
    "Migration",
    "NotFound",
    "Options",
    "Queue",
    "QueueFull",
    "QueueInfo",
    "Refused",
    "RegistrationError",
    "Registry",
    "Retry",
    "ScheduleInfo",
    "ShutdownReport",
    "ShuttingDown",
    "Snooze",
    "Stats",
    "Steps",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreSilent",
    "System",
    "SystemClock",
    "TrioClock",
    "Unique",
    "UnknownType",
    "WorkerInfo",
    "WrongState",
    "migrate",
    "open_system",
    "run",
]
