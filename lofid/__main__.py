"""``python -m lofid``: the same as the command ``lofid``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working folder, where nothing of lofid's is looked for
    from lofid.cli import main

    main()
