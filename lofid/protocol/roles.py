"""What a client may ask for: each role may do what those before it may, and more.

A role belongs to a key (:mod:`lofid.protocol.curve`); clients of the same user on the same machine
need none, and own the daemon. Which role a request needs stands at the request.
"""

from enum import StrEnum


class Role(StrEnum):
    """A client's role, the least first."""

    meaning: str

    LISTEN = "listen", "hears events and sees the status"
    STEER = "steer", "steers the music, and records into the daemon's own folder"
    OWN = "own", "also names files, opens and closes outputs, and ends the daemon"

    def __new__(cls, word: str, meaning: str = "") -> "Role":
        """A role with what it may do."""
        role = str.__new__(cls, word)
        role._value_ = word
        role.meaning = meaning
        return role

    def allows(self, needed: "Role") -> bool:
        """Whether whoever has this role may do what needs that one."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


DEFAULT = Role.STEER
"""That of a key for which nobody named another."""
