# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What a folder with remote code must hold, and a process that has nothing but such a folder."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1] / "modeling_trm"
PREAMBLE = """
import importlib.util, json, sys
sys.path.extend(json.loads(sys.argv[1]))
assert importlib.util.find_spec("modeling_trm") is None, "the package is importable: this would prove nothing"
arguments = sys.argv[2:]
"""


def needed_files(*names: str) -> set[str]:
    """These source files and those they import relatively, and so on."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            source = (PACKAGE / name).read_text()
            waiting += [f"{module}.py" for module in re.findall(r"^\s*from \.(\w+) import", source, re.MULTILINE)]
    return found


def run_without_the_package(code: str, arguments: list[Any], folder: Path) -> str:
    """Runs `code`, in which `arguments` are strings, in an empty folder inside `folder`; what it prints."""
    (folder / "empty").mkdir()
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    result = subprocess.run(
        # Isolated and without `site`, so that no .pth file and no variable brings the package in.
        [sys.executable, "-I", "-S", "-c", PREAMBLE + code, json.dumps(packages), *map(str, arguments)],
        cwd=folder / "empty",
        env={**os.environ, "HF_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
