"""A real Argilla server on this machine, with no Docker: an unmodified wheel in an environment of its own.

`serving` for as long as a command needs it, `detach` for as long as people answer, `running` to look, `remote` for one
that somebody else runs.
"""

from labeling.server.connection import Connection, address, remote, running
from labeling.server.environment import ensure_environment
from labeling.server.launch import DEFAULT_HOME, DEFAULT_PORT, Tls, detach, serving

__all__ = [
    "DEFAULT_HOME",
    "DEFAULT_PORT",
    "Connection",
    "Tls",
    "address",
    "detach",
    "ensure_environment",
    "remote",
    "running",
    "serving",
]
