"""A process of its own for one peer: `python -m benchmarks.peers.drive PEER SIZES` prints JSON; with `probe` for the
sizes, the versions, or why it is missing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from importlib import import_module, metadata

from benchmarks.peers.shape import Peer, Sizes

MODULES = (
    "ours",
    "huey",
    "taskiq",
    "dramatiq",
    "apscheduler",
    "flexiq",
    "litequeue",
    "pulse_queue",
    "ardiq",
    "saq",
    "arq",
    "bullmq",
    "streaq",
    "rq",
    "celery",
)


def peers() -> dict[str, Peer]:
    """All that there are, by store and name."""
    found: dict[str, Peer] = {}
    for name in MODULES:
        for peer in import_module(f"benchmarks.peers.{name}").PEERS:
            found[f"{peer.store}/{peer.name}"] = peer
    return found


def probe(peer: Peer) -> dict[str, str]:
    """The version of each package, or what is `missing`."""
    if sys.version_info < peer.python:
        return {"missing": f"needs Python {'.'.join(map(str, peer.python))}"}
    versions: dict[str, str] = {}
    for package in peer.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            return {"missing": f"{package} is not installed"}
    return versions


def main() -> None:
    """Measure and print. What a peer itself prints goes to stderr."""
    name, given = sys.argv[1:]
    peer = peers()[name]
    if given == "probe":
        print(json.dumps(probe(peer)))
        return
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(sys.stderr):
        found = peer.measure(Sizes(**json.loads(given)))
    print(json.dumps(found), flush=True)
    os._exit(0)  # threads of a peer that does not end are nobody's business any more


if __name__ == "__main__":
    main()
