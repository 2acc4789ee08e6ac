# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A user's mistake ends in one line that names the thing and the mend, and exit status 2."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from modeling_trm.console import make_streams_unbreakable, one_line


class UserError(Exception):
    """A mistake of the user; the message is one line that names the thing and the mend."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@contextmanager
def user_errors(context: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns exceptions that stand for a user's mistake (bad files, wrong names) into a one-line `UserError`."""
    try:
        yield
    except kinds as error:
        raise UserError(context + one_line(error)) from error


def run_command(main: Callable[[list[str]], None]) -> NoReturn:
    """Runs an entry point; a user's mistake becomes one line on standard error and exit status 2."""
    make_streams_unbreakable()
    try:
        main(sys.argv[1:])
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each machine says it
            print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
