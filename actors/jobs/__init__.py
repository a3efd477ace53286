"""Ready-made job types, because every installation needs them: `send_email`, `webhook`, `cleanup`. Names
only."""

from actors.jobs.catalogue import registry
from actors.jobs.cleanup import Cleanup
from actors.jobs.send_email import SendEmail
from actors.jobs.settings import Settings
from actors.jobs.tools import DeliveryFailed
from actors.jobs.webhook import Webhook

__all__ = ["Cleanup", "DeliveryFailed", "SendEmail", "Settings", "Webhook", "registry"]
