"""What the server and the network say when they can't, as the errors of the store port. The cause stays chained."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from coredis import exceptions

from actors.core.errors import StoreBusy, StoreError, StoreFull, StoreSilent

_FULL: Final = ("OOM ", "MISCONF ")  # no memory left; a disk that takes no snapshot or log any more
_PASSING: Final = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ", "NOREPLICAS", "UNBLOCKED")
_OTHER_NAME: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_OUT_OF_DATE: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
_CLIENT_REFUSED: Final = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")  # in alerts
_NOT_DONE: Final = (  # of those out of reach: the server itself has said so, or nobody was asked
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.PrimaryNotFoundError,
)
_OUT_OF_REACH: Final = (
    exceptions.ConnectionError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.PrimaryNotFoundError,
    exceptions.ReplicationError,
    exceptions.PersistenceError,
    exceptions.ClusterError,
    trio.TooSlowError,
    TimeoutError,
    OSError,
)


def store_error(error: BaseException, where: str) -> StoreError:
    """The port's error for what was raised about the server `where`."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error) or ("no answer in time" if isinstance(error, trio.TooSlowError) else type(error).__name__)
    cause = error.__cause__
    if isinstance(error, exceptions.AuthenticationError):
        return StoreError(f"{where} refuses these credentials: {text}")
    if isinstance(cause, exceptions.AuthenticationError):
        return StoreError(f"{where} refuses these credentials: {cause}")
    if (refused := _tls_refusal(error, where)) is not None:
        return refused
    if text.startswith(_FULL):
        return StoreFull(f"{where} takes no more: {text}")
    if isinstance(error, _OUT_OF_REACH) and not isinstance(error, _NOT_DONE):
        return StoreSilent(f"{where} is out of reach: {text}")
    if isinstance(error, _NOT_DONE) or text.startswith(_PASSING):
        return StoreBusy(f"{where} is out of reach: {text}")
    return StoreError(f"{where}: {text}")


def _tls_refusal(error: BaseException, where: str) -> StoreError | None:
    """What TLS says by the way of `error`, where waiting would not mend it."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = cause.verify_message.rstrip(".")
            if cause.verify_code in _OTHER_NAME:
                expected = "the name of the certificate as the host in the URL, or ssl_check_hostname=false"
                return StoreError(f"{where} shows the certificate of another host ({said}): expected {expected}")
            if cause.verify_code in _OUT_OF_DATE:
                return StoreError(f"{where} shows a certificate that is not valid now ({said}): expected a current one")
            expected = "one of an authority in the file that ssl_ca_certs=... names in the URL"
            return StoreError(f"{where} shows a certificate that nobody here trusts ({said}): expected {expected}")
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or ""
            if reason in _NO_TLS:
                return StoreError(f"{where} speaks no TLS there ({reason}): expected its TLS port, or redis://")
            if "ALERT" in reason and any(word in reason for word in _CLIENT_REFUSED):
                expected = "ssl_certfile=... and ssl_keyfile=... in the URL, of a certificate that it trusts"
                return StoreError(f"{where} refuses this client's certificate ({reason}): expected {expected}")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def first_contact(error: StoreBusy, *, tls: bool) -> StoreBusy:
    """The error of a server that never answered, with what may be wrong in the URL: a server that is spoken to in the
    wrong way hangs up or waits, and tells nothing.
    """
    cause = error.__cause__
    hint = None
    if isinstance(cause, (trio.TooSlowError, TimeoutError)):
        hint = "a server that speaks no TLS there is silent so: is it redis://?" if tls else None
    elif "Connection lost" in str(cause):
        hint = "a server that speaks TLS there hangs up so: is it rediss://?"
        if tls:
            hint = "a server that asks for a client certificate hangs up so: are ssl_certfile and ssl_keyfile given?"
    return error if hint is None else type(error)(f"{error} ({hint})")


@contextmanager
def redis_errors(where: str) -> Generator[None]:
    """Raise what the client raises inside as a `StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise store_error(error, where) from error
