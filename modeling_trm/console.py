# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What the commands show, and that showing it never ends their work."""

import sys
from contextlib import suppress
from typing import Any

from .rendering_trm import printable


class Unbreakable:
    """A text stream whose writes never fail: what a full disk or a closed pipe does not take is dropped."""

    def __init__(self, stream: Any):
        self.stream = stream
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # what the terminal's encoding does not have is a question mark

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def make_streams_unbreakable() -> None:
    sys.stdout, sys.stderr = (
        stream if isinstance(stream, Unbreakable) else Unbreakable(stream) for stream in (sys.stdout, sys.stderr)
    )


def one_line(message: object) -> str:
    """What is wrong, in one line that a terminal shows and does not obey."""
    return printable(" ".join(str(message).split()))
