"""lofid: an endless lo-fi station, written bar by bar by two RWKV-6 models.

``docs/architecture.md`` describes the rooms of this package and the way of a bar through them.
"""

__version__ = "0.1.0"
