"""The URL of a store on Redis, read into a server and options.

    redis://[user[:password]@]host[:port][/db]
    redis+sentinel://[user[:password]@]host[:port][,host[:port]...]/service[/db]
    redis+cluster://[user[:password]@]host[:port][,host[:port]...]

`rediss` instead of `redis` is TLS; `valkey` and `valkeys` are the same. Behind a `?`: `prefix` (the name of the system:
several can share a server), `timeout` (seconds), `replicas`, `fsync`, `strict`; for TLS `ssl_ca_certs`, `ssl_certfile`,
`ssl_keyfile`, `ssl_check_hostname`, `ssl_cert_reqs` (`required` or `none`); for Sentinels `sentinel_username` and
`sentinel_password`.
"""

from __future__ import annotations

import re
import ssl
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from actors.core.errors import BadOption
from actors.store.redis.server import Credentials, Server

DEFAULT_PREFIX: Final = "actors"
DEFAULT_TIMEOUT: Final = 5.0  # seconds for an answer: below the 6 s after which the API must have answered
MOST_REPLICAS: Final = 100
_KINDS: Final = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS: Final = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_YES: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
SCHEMES: Final = frozenset(
    f"{name}{kind}" for name in ("redis", "rediss", "valkey", "valkeys") for kind in ("", "+sentinel", "+cluster")
)


@attrs.frozen(kw_only=True)
class Options:
    """How a store uses its server.

    `replicas`: a commit is acknowledged only when so many replicas have it; `fsync`: only when it is on the disk (of
    the primary, and of `replicas` replicas). `strict`: refuse a server that can lose what it has accepted.
    """

    prefix: str = DEFAULT_PREFIX
    timeout: float = DEFAULT_TIMEOUT
    replicas: int = 0
    fsync: bool = False
    strict: bool = False

    def __attrs_post_init__(self) -> None:
        if re.fullmatch(r"[A-Za-z0-9_.:/-]{1,100}", self.prefix, re.ASCII) is None:
            raise BadOption("prefix", self.prefix, "1 to 100 letters, digits or _.:/-")
        if not 0 < self.timeout <= 3_600:
            raise BadOption("timeout", self.timeout, "seconds from 0 to 3600")
        if not 0 <= self.replicas <= MOST_REPLICAS:
            raise BadOption("replicas", self.replicas, f"an integer from 0 to {MOST_REPLICAS}")


def read_url(url: str) -> tuple[Server, dict[str, Any]]:
    """The server that `url` names, and the options that it gives. `BadOption` says what is wrong, without secrets."""
    split = urlsplit(url)
    family, _, word = split.scheme.partition("+")
    kind = _KINDS.get(word)
    if split.scheme not in SCHEMES or kind is None:
        raise BadOption("store", split.scheme, f"one of {', '.join(sorted(SCHEMES))}")
    given = dict(parse_qsl(split.query, keep_blank_values=True))
    who, _, where = split.netloc.rpartition("@")
    if "@" in f"{split.path}{split.query}{split.fragment}":
        raise BadOption("store", f"{split.scheme}://...", "a password whose / ? # are percent-encoded")
    username, _, password = who.partition(":")
    service, db = _path(kind, split.path)
    server = Server(
        kind=kind,  # type: ignore[arg-type]  # a word of the table
        hosts=tuple(_host(part, _PORTS[kind]) for part in where.split(",")),
        service=service,
        db=int(_number("db", given.pop("db", str(db)), int, "the number of a database")),
        credentials=_credentials(unquote(username), unquote(password)),
        sentinel_credentials=_credentials(given.pop("sentinel_username", ""), given.pop("sentinel_password", "")),
        tls=_tls(given) if family.endswith("s") and family not in ("redis", "valkey") else None,
    )
    if kind == "single" and len(server.hosts) != 1:
        raise BadOption("store", where, "one host; several are for redis+sentinel: and redis+cluster:")
    return server, _options(given)


def _path(kind: str, path: str) -> tuple[str | None, int]:
    """The service and the database that the path names."""
    parts = [unquote(part) for part in path.split("/") if part]
    service = parts.pop(0) if kind == "sentinel" and parts else None
    if kind == "sentinel" and service is None:
        raise BadOption("store", path, "the name of the service, as in redis+sentinel://host/service")
    if len(parts) > (0 if kind == "cluster" else 1) or not all(part.isdecimal() for part in parts):
        raise BadOption("store", path, "the number of a database" if kind != "cluster" else "no path for a cluster")
    return service, int(parts[0]) if parts else 0


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        read = urlsplit(f"//{text}")
        return read.hostname or "localhost", read.port or port
    except ValueError:
        raise BadOption("store", text, "host or host:port") from None


def _credentials(username: str, password: str) -> Credentials:
    return Credentials(username=username or None, password=password or None)


def _tls(given: dict[str, str]) -> ssl.SSLContext:
    authorities = given.pop("ssl_ca_certs", None)
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:  # an SSLError is one
        raise BadOption("ssl_ca_certs", authorities, f"a file of certificates, in PEM ({_why(error)})") from None
    certfile, keyfile = given.pop("ssl_certfile", None), given.pop("ssl_keyfile", None)
    if certfile is not None:
        try:
            context.load_cert_chain(certfile, keyfile, password="")  # or OpenSSL asks the terminal for it
        except (OSError, ValueError) as error:
            expected = (
                f"a certificate with its key, in PEM and not encrypted, or the key in ssl_keyfile ({_why(error)})"
            )
            raise BadOption("ssl_certfile", certfile, expected) from None
    elif keyfile is not None:
        raise BadOption("ssl_keyfile", keyfile, "ssl_certfile beside it")
    context.check_hostname = _yes("ssl_check_hostname", given.pop("ssl_check_hostname", "true"))
    match given.pop("ssl_cert_reqs", "required"):
        case "required":
            pass
        case "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        case other:
            raise BadOption("ssl_cert_reqs", other, "required or none")
    return context


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _options(given: dict[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, text in given.items():
        match name:
            case "prefix":
                read[name] = text
            case "timeout":
                read[name] = _number(name, text, float, "seconds")
            case "replicas":
                read[name] = _number(name, text, int, "a whole number")
            case "fsync" | "strict":
                read[name] = _yes(name, text)
            case _ if name.startswith("ssl_"):
                known = "ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_check_hostname or ssl_cert_reqs"
                raise BadOption("store", name, f"{known}, and a URL that begins with rediss")
            case _:
                raise BadOption("store", name, "prefix, timeout, replicas, fsync, strict, db, ssl_... or sentinel_...")
    return read


def _number(name: str, text: str, kind: type[int] | type[float], expected: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise BadOption(name, text, expected) from None


def _yes(name: str, text: str) -> bool:
    if (answer := _YES.get(text.lower())) is None:
        raise BadOption(name, text, "true or false")
    return answer
