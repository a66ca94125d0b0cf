"""Where ``lofid`` and ``python -m lofid`` begin: quick to load, so that Ctrl-C is never a fault."""

import sys

from lofid.processes import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C at any moment ends it without a traceback."""
    try:
        from lofid.cli import main as command_line  # noqa: PLC0415 - takes a moment

        command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working folder, where nothing of lofid's is looked for
    main()
