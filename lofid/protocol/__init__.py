"""How programs talk with a daemon: messages, where its sockets lie, the clients' keys and roles.

Everything that a client needs, and nothing of the daemon: :mod:`lofid.protocol.messages` defines
every request, answer and event once, and the reference, the command line and the client are made
from it. Encoding is JSON, checked by type::

    from lofid.protocol import messages

    data = messages.encode_request(messages.Set({"music.tempo": 72}), "1")

Knows the table of parameters; must not know the daemon, models, sound or outputs.
"""
