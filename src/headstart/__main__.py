"""`headstart`, and `python -m headstart`: the door in front of the command line.

Nothing heavy is imported yet, so that a Ctrl-C while the command line loads is 130 too, and no traceback.
"""

import os
from typing import NoReturn

from headstart.ground.errors import INTERRUPTED


def main() -> NoReturn:
    """Run one command and leave with its exit code."""
    try:
        from headstart.cli import main as command
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # an interrupt that passed through exec makes CPython die by the signal at exit
    command()


if __name__ == "__main__":
    main()
