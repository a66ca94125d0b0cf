"""lofid: an endless lo-fi station, written bar by bar by two RWKV-6 models.

``docs/architecture.md`` describes the rooms of this package and the way of a bar through them.
``lofid.Client`` and ``lofid.AsyncClient`` steer a running daemon.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lofid.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]

# Whoever embeds or runs lofid decides where its log goes; without a handler, Python would print it.
logging.getLogger("lofid").addHandler(logging.NullHandler())

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The clients, imported when they are asked for: most who import lofid need no sockets."""
    if name in __all__:
        from lofid import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module 'lofid' has no attribute '{name}'")
