"""The daemon: three processes that keep the music going, and the way they talk.

The **desk** holds the session: settings, states, what was played; it answers whoever steers. The
**writer** holds the models and writes bars when the desk asks. The **stage** keeps time: it makes
bars sound and feeds the outputs. Only the desk starts processes and only the desk writes the
session down, so either of the others may die at any moment.
"""
