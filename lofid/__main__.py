"""``python -m lofid``: the same as the command ``lofid``."""

from lofid.cli import main

if __name__ == "__main__":
    main()
