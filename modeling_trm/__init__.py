# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""TRM for transformers: importing this package registers it with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_trm import TrmConfig
from .modeling_trm import TrmCarry, TrmForPuzzleSolving, TrmModel, TrmOutput
from .pipeline_trm import PuzzleSolvingPipeline
from .processing_trm import TrmProcessor
from .solving_trm import TrmSolution

__version__ = "0.1.0"

AutoConfig.register("trm", TrmConfig, exist_ok=True)
AutoModel.register(TrmConfig, TrmForPuzzleSolving, exist_ok=True)
AutoProcessor.register(TrmConfig, TrmProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline("puzzle-solving", pipeline_class=PuzzleSolvingPipeline, pt_model=AutoModel)

__all__ = [
    "PuzzleSolvingPipeline",
    "TrmCarry",
    "TrmConfig",
    "TrmForPuzzleSolving",
    "TrmModel",
    "TrmOutput",
    "TrmProcessor",
    "TrmSolution",
    "__version__",
]
