# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that a kill at any moment cannot harm: written under a temporary name, then renamed.

A checkpoint is a folder `checkpoints/step-00001000` with the tensors of rank 0 (weights, average, optimizers) as
safetensors, the carry and random state of each rank, `votes.json` and `state.json`. Nothing in it is a pickle.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from modeling_trm import PuzzleSolvingPipeline, TrmCarry, TrmConfig, TrmForPuzzleSolving, TrmProcessor

from .arc_evaluation import VoteTable
from .arguments import TrainArguments, UserError

FOLDER_NAME = re.compile(r"step-(\d{8})")


@dataclass
class TrainState:
    """Everything that training changes.

    Attributes:
        model, average, optimizers: weights and what moves them.
        carry: puzzles being worked on by this process, or `None` before the first step.
        step: optimizer steps done; the order of examples and all random draws follow from it and the seed.
        best_accuracy: highest exact accuracy of the periodic evaluations.
        seconds: time spent training, over all runs.
        votes: on ARC, of the evaluations so far, if they are to accumulate.
    """

    model: TrmForPuzzleSolving
    average: AveragedModel
    optimizers: list[Optimizer]
    carry: TrmCarry | None = None
    step: int = 0
    best_accuracy: float = -1.0
    seconds: float = 0.0
    votes: VoteTable = field(default_factory=VoteTable)

    @property
    def averaged_model(self) -> TrmForPuzzleSolving:
        """The model to evaluate and publish: averaged weights."""
        return cast(TrmForPuzzleSolving, self.average.module)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, average and optimizer moments by name; tensors that two of them share appear once."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        shared = {tensor.data_ptr() for tensor in named.values()}
        for name, tensor in self.average.state_dict().items():
            if tensor.data_ptr() not in shared:
                named[f"average.{name}"] = tensor
        for number, optimizer in enumerate(self.optimizers):
            for index, moments in optimizer.state_dict()["state"].items():
                named |= {f"optimizer.{number}.{index}.{name}": moment for name, moment in moments.items()}
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def load_tensors(self, named: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.model.load_state_dict(with_prefix(named, "model."))
        self.average.load_state_dict({**self.average.state_dict(), **with_prefix(named, "average.")})
        for number, optimizer in enumerate(self.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in with_prefix(named, f"optimizer.{number}.").items():
                index, _, moment = name.partition(".")
                moments.setdefault(int(index), {})[moment] = tensor
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def with_prefix(named: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}


def save_checkpoint(
    state: TrainState, output_dir: Path, accelerator: Accelerator, settings: dict[str, Any], total_limit: int
) -> None:
    """Writes a checkpoint and removes the oldest ones beyond `total_limit`. All processes must call it."""
    final = output_dir / "checkpoints" / f"step-{state.step:08d}"
    temporary = final.with_name(final.name + ".tmp")
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    local = {"random_state": torch.get_rng_state()}
    if state.carry is not None:
        local |= {f"carry.{name}": tensor.contiguous() for name, tensor in state.carry.tensors().items()}
    save_file(local, temporary / rank_file(accelerator))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        save_file(state.tensors(), temporary / "training.safetensors")
        progress = {"step": state.step, "best_accuracy": state.best_accuracy, "seconds": state.seconds}
        record = {**progress, "num_processes": accelerator.num_processes, "settings": settings}
        (temporary / "votes.json").write_text(json.dumps(state.votes.to_json()))
        (temporary / "state.json").write_text(json.dumps(record, indent=2))
        replace_folder(temporary, final)
        for old in list_checkpoints(output_dir)[:-total_limit]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(state: TrainState, output_dir: Path, accelerator: Accelerator, settings: dict[str, Any]) -> bool:
    """Restores the newest checkpoint, if there is one.

    Raises:
        UserError: it was made with another model, data, batch size, seed or number of processes.
    """
    checkpoints = list_checkpoints(output_dir)
    if not checkpoints:
        return False
    folder = checkpoints[-1]
    record = json.loads((folder / "state.json").read_text())
    recorded = with_defaults(record["settings"])
    for name, value in settings.items():
        before = recorded.get(name)
        if before != value:
            raise UserError(
                f"{output_dir} was trained with {name}={before}, not {value}: "
                "set it back to go on, or choose another --output_dir"
            )
    if record["num_processes"] != accelerator.num_processes:
        raise UserError(f"{folder} is of {record['num_processes']} processes, not {accelerator.num_processes}")
    state.load_tensors(load_file(folder / "training.safetensors"))
    state.votes.load_json(json.loads((folder / "votes.json").read_text()))
    local = load_file(folder / rank_file(accelerator))
    torch.set_rng_state(local["random_state"])
    carry = with_prefix(local, "carry.")
    state.carry = (
        TrmCarry(**{name: tensor.to(accelerator.device) for name, tensor in carry.items()}) if carry else None
    )
    state.step, state.best_accuracy, state.seconds = record["step"], record["best_accuracy"], record["seconds"]
    return True


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint, with the defaults of fields that did not exist when it was written."""
    defaults = {field.name: field.default for field in fields(TrainArguments)}
    model_defaults = {name: getattr(TrmConfig, name) for name in TrmConfig.__annotations__}
    return {**defaults, **settings, "model": {**model_defaults, **settings["model"]}}


def rank_file(accelerator: Accelerator) -> str:
    return f"rank-{accelerator.process_index:05d}.safetensors"


def list_checkpoints(output_dir: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    folder = output_dir / "checkpoints"
    return sorted(path for path in folder.glob("step-*") if FOLDER_NAME.fullmatch(path.name))


def replace_folder(temporary: Path, final: Path) -> None:
    """Puts a finished folder in place of another one, all its bytes on the disk first."""
    for path in [*temporary.iterdir(), temporary]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files replace those of `folder`, each at once, when the block ends well."""
    temporary = folder / ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.iterdir():
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_model(model: TrmForPuzzleSolving, processor: TrmProcessor, folder: Path) -> None:
    """Writes weights, configuration, processor and remote code: a folder for `from_pretrained` and `pipeline`."""
    with written_whole(folder) as temporary:
        PuzzleSolvingPipeline(model=model, processor=processor, device=model.device).save_pretrained(temporary)
