# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Models for the commands: found here or on the Hub, and refused in one line unless all that they need is there.

No code of a model is ever run, and nothing is asked on standard input, where a puzzle may wait.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError, StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoProcessor
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME

from .configuration_trm import TrmConfig
from .hub_trm import MODEL_FILES
from .modeling_trm import TrmForPuzzleSolving
from .processing_trm import TrmProcessor

SHARDS = ("model-*.safetensors", "model.safetensors.index.json")
UNLOADABLE = (
    *(ValueError, OSError, SafetensorError, StrictDataclassError, HTTPError),
    *(TypeError, AttributeError, LookupError, RuntimeError),  # of a config.json with values of other kinds
)


def find_model(name: str, revision: str | None = None) -> str:
    """The folder of a model: `name` itself, or where a repository of the Hub is kept after its download.

    A name whose parent is a folder here is never looked for on the Hub.

    Raises:
        ValueError, OSError, HTTPError: there is no such model.
    """
    path = Path(name)
    if name and path.is_dir():
        if revision is not None:
            raise ValueError(f"{name} is a folder here, which has no revision {revision!r}")
        return name
    is_repository = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None
    if path.exists() or path.parent.is_dir() or not is_repository:
        kind = "a file, not a folder" if path.exists() else "neither a folder here nor the ORG/NAME of a repository"
        raise ValueError(f"{name} is {kind}")
    return snapshot_download(name, revision=revision, allow_patterns=[*MODEL_FILES, *SHARDS])


def load_model(folder: str, dtype: torch.dtype = torch.float32) -> TrmForPuzzleSolving:
    """The model in a folder; its weights must be safetensors, nothing pickled is read.

    Raises:
        UNLOADABLE: there is none, it is not TRM, or its weights are not those that its `config.json` describes.
    """
    read_object(Path(folder) / CONFIG_NAME)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if not isinstance(config, TrmConfig):
        raise ValueError(f"it is of the type {config.model_type!r}, not 'trm'")
    return TrmForPuzzleSolving.from_pretrained(folder, config=config, dtype=dtype, use_safetensors=True)


def load_processor(folder: str) -> TrmProcessor:
    """The processor in a folder; raises as `load_model` does."""
    if (Path(folder) / PROCESSOR_NAME).exists():
        read_object(Path(folder) / PROCESSOR_NAME)
    return AutoProcessor.from_pretrained(folder, trust_remote_code=False)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError, OSError: there is none; in one line that names the file.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")  # a named pipe would never end
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object, but a {type(content).__name__}")
    return content
