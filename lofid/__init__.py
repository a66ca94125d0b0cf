"""lofid: an endless lo-fi station, written bar by bar by two RWKV-6 models.

``docs/architecture.md`` describes the rooms of this package and the way of a bar through them.
"""

import logging

# Whoever embeds or runs lofid decides where its log goes; without a handler, Python would print it.
logging.getLogger("lofid").addHandler(logging.NullHandler())

__version__ = "0.1.0"
