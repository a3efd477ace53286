"""Signs a webhook as Standard Webhooks has it (github.com/standard-webhooks/standard-webhooks)."""

from __future__ import annotations

import base64
import hashlib
import hmac

from actors.jobs.settings import signing_key


def signed_headers(secret: str | None, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that identify a message in all its attempts, and with a secret the one that signs it.

    `timestamp` is in seconds since the epoch. The signature is `v1,` and the base64 of HMAC-SHA256 over
    `id.timestamp.body`.
    """
    headers = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    if secret is not None:
        signed = b".".join((id.encode(), str(timestamp).encode(), body))
        digest = hmac.digest(signing_key(secret), signed, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
