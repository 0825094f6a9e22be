"""A real Argilla server on this machine, without Docker: an unmodified wheel in a separate environment.

`serving` runs it while a command needs it, `detach` runs it beyond the command, `running` finds a running one, `remote`
connects to a server that runs elsewhere.
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
