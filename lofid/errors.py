"""The errors a user may meet.

Everything a person can cause or mend (a wrong name, a damaged file, a missing library) is raised
as a :class:`LofidError` whose text is one sentence: what is wrong, where, and what to do. The
command line prints that sentence and exits with 1; anything else that escapes is a bug of ours.
"""


class LofidError(Exception):
    """A condition that the user can understand and mend; ``str()`` is one full sentence."""
