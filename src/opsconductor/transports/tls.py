"""The TLS context of outgoing connections: the system's trust store, names verified."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def default_tls() -> ssl.SSLContext:
    """Made once: loading the trust store takes 20 ms."""
    return ssl.create_default_context()
