"""The program: ``python -m sundae``, and ``sundae`` once installed. Its commands are in :mod:`sundae.cli`."""

from __future__ import annotations

import sys
from typing import NoReturn

from sundae import stopping


def main() -> NoReturn:
    """Run the command that the program was started with, and end with its exit code."""
    stopping.answer(stopping.leave_at_once)
    from sundae import cli  # here: it brings in torch, which takes a second in which one may press Ctrl-C

    sys.exit(cli.main())


if __name__ == "__main__":
    main()
