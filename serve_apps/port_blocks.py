"""Ports of this shop's own, on a machine that may run several shops.

Serve's replicas and HAProxy listen with SO_REUSEPORT: two shops that choose the same port both
succeed, and the kernel deals their shoppers out between them. So a port is not only looked at,
it is claimed: by a name in the kernel's abstract socket space, which lasts exactly as long as
the process that holds it, `kill -9` included.
"""

from __future__ import annotations

import socket

BLOCK_SIZE = 100  # ports of one shop: its replicas', and at the end HAProxy's own
_BLOCKS = range(31_100, 32_700, BLOCK_SIZE)  # past those that Serve takes unless told otherwise
_PROBED = 12  # of a block: Serve fills it from below
_PROBED_AT_THE_END = 4


class Claim:
    """Ports that no other supervisor of this machine takes, until `release` or its end."""

    def __init__(self, low: int, held: socket.socket) -> None:
        self.low = low
        self._held = held

    def release(self) -> None:
        """Let others have it."""
        self._held.close()


def is_free(port: int) -> bool:
    """True if nobody listens on the port, on any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def claim(low: int) -> Claim | None:
    """The port, or the block that begins with it; None if another shop has it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(f"\0doorbuster-port-{low}")
    except OSError:
        held.close()
        return None
    return Claim(low, held)


def claim_block() -> Claim:
    """A block of BLOCK_SIZE ports for replicas. Raises RuntimeError if there is none."""
    for low in _BLOCKS:
        found = claim(low)
        if found is None:
            continue
        end = low + BLOCK_SIZE
        if all(
            is_free(port)
            for port in (*range(low, low + _PROBED), *range(end - _PROBED_AT_THE_END, end))
        ):
            return found
        found.release()  # taken by something that claims nothing, or by a dead shop's remains
    raise RuntimeError("no free block of ports between 31100 and 32700; stop another shop")
