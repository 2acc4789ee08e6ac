# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Saving into a folder whose code is links, as that of the model folders in the repository is."""

import os
from os import PathLike
from pathlib import Path
from typing import Any


class SavingMixin:
    """A `save_pretrained` that leaves what links lead to as it is."""

    def save_pretrained(self, save_directory: str | PathLike, *args: Any, **kwargs: Any) -> Any:
        """As of the class that follows; linked code in the folder becomes files of its own first."""
        for path in Path(save_directory).glob("*_trm.py"):
            if path.is_symlink():
                code = path.read_bytes() if path.exists() else None
                path.unlink()
                if code is not None:
                    path.write_bytes(code)
        result = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        share(save_directory)
        return result


def share(folder: str | PathLike) -> None:
    """Gives weights the mode of other files: `safetensors` writes them for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in Path(folder).glob("*.safetensors"):
        path.chmod(0o666 & ~umask)


__all__ = ["SavingMixin"]
