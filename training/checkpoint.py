# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that a kill at any moment cannot harm: written under a temporary name, then renamed.

A checkpoint is a folder `checkpoints/step-00001000`: `training.safetensors` is what all processes share (weights,
average, optimizers), `rank-*.safetensors` the carry and random state of each, then `state.json`, and in
`manifest.json` the checksums of all those. Nothing in it is a pickle. A run of N processes goes on with M: the
carries, rows of the global batch in the order of the processes, are divided anew.
"""

import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeling_trm import PuzzleSolvingPipeline, TrmCarry, TrmConfig, TrmForPuzzleSolving, TrmProcessor
from modeling_trm.loading import read_object

from .arguments import TrainArguments
from .errors import UserError, require, user_errors
from .state import TrainState, with_prefix
from .storage import failure_of, find_damage, replace_folder, write_json, write_manifest, written_whole

FOLDER_NAME = re.compile(r"step-(\d{8})")
OTHER_DATA = "other data (these are not the training puzzles that the run was started with)"
PROGRESS = ("step", "progress", "best_accuracy", "seconds", "device_seconds")  # fields of the state that are numbers


def save_checkpoint(
    state: TrainState, output_dir: Path, accelerator: Accelerator, settings: dict[str, Any], args: TrainArguments
) -> str | None:
    """Writes a checkpoint and removes the oldest ones beyond the limit. All processes must call it.

    Returns:
        Why nothing could be written, on any process (no space left, ...), or `None`. Nothing half-written stays.
    """
    final = output_dir / "checkpoints" / f"step-{state.step:08d}"
    temporary = final.with_name(final.name + ".tmp")
    is_main = accelerator.is_main_process

    def prepare() -> None:
        if is_main:
            for unfinished in final.parent.glob("step-*.tmp"):  # by a process that was killed
                shutil.rmtree(unfinished)
            temporary.mkdir(parents=True)

    def write() -> None:
        local = {"random_state": torch.get_rng_state()}
        if state.carry is not None:
            local |= {f"carry.{name}": tensor.contiguous() for name, tensor in state.carry.items()}
        save_file(local, temporary / rank_file(accelerator.process_index))
        if is_main:
            save_file(state.tensors(), temporary / "training.safetensors")
            progress = {name: getattr(state, name) for name in PROGRESS}
            record = {**progress, "num_processes": accelerator.num_processes, "settings": settings}
            write_json(record, temporary / "state.json", indent=2)

    def finish() -> None:
        if is_main:
            write_manifest(temporary)
            replace_folder(temporary, final)
            for old in list_checkpoints(output_dir)[: -args.checkpoint_total_limit]:
                shutil.rmtree(old, ignore_errors=True)  # what stays does no harm; the new one is written

    for action in (prepare, write, finish):
        failure = failure_of(action, accelerator)
        if failure is not None:
            if is_main:
                shutil.rmtree(temporary, ignore_errors=True)
            return failure
    return None


def load_checkpoint(
    state: TrainState, output_dir: Path, accelerator: Accelerator, settings: dict[str, Any], resume_anyway: bool
) -> bool:
    """Restores the newest checkpoint that is undamaged, if there is one; call it in the context of the computation.

    With `resume_anyway` and other settings than before, the weights and the step are kept, the moments if the
    optimizer is the same, and the puzzles in work are dropped.

    Raises:
        UserError: it was made with another model, data, batch size or seed; or all checkpoints are damaged.
    """
    folder = newest_undamaged(output_dir, accelerator)
    if folder is None:
        return False
    with user_errors(f"{folder} is no checkpoint as train.py writes it: ", ValueError, OSError):
        record = read_object(folder / "state.json")
    is_ours = isinstance(record.get("settings"), dict) and {"step", "num_processes"} <= record.keys()
    require(is_ours, f"{folder / 'state.json'} is no record as train.py writes it: move {folder} away")
    before = defaults() | record["settings"]
    changes = {
        name: OTHER_DATA if name == "data" else f"{name}={before.get(name)}, not {value}"
        for name, value in settings.items()
        if before.get(name) != value
    }
    require(
        not changes or resume_anyway,
        f"{output_dir} was trained with {', and with '.join(changes.values())}: set it back to go on, choose another "
        "--output_dir, or take the weights as they are with --resume_anyway true",
    )
    for change in changes.values():
        accelerator.print(f"warning: {output_dir} was trained with {change}: the puzzles in work start anew")
    tensors = load_file(folder / "training.safetensors")
    if {"optimizer", "use_muon"} & changes.keys():
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    try:
        state.load_tensors(tensors)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{folder} does not fit this recipe: {' '.join(str(error).split())}") from error
    local = load_local(folder, record["num_processes"], accelerator)
    torch.set_rng_state(local.pop("random_state"))
    if local and not changes:
        carry = TrmCarry(
            **with_prefix({name: tensor.to(accelerator.device) for name, tensor in local.items()}, "carry.")
        )
        dtype = state.model.model.compute_dtype
        carry.answer_state, carry.latent_state = carry.answer_state.to(dtype), carry.latent_state.to(dtype)
        state.carry = carry
    for name in PROGRESS:
        setattr(state, name, record.get(name))
    return True


def load_local(folder: Path, num_processes: int, accelerator: Accelerator) -> dict[str, Tensor]:
    """What this process goes on with, from a checkpoint of `num_processes`: its rows of the global batch.

    Nothing in training is drawn from torch's generator, so a process that is new takes the state of an old one.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    own = load_file(folder / rank_file(rank % num_processes))
    if world == num_processes:
        return own
    parts = [load_file(folder / rank_file(number)) for number in range(num_processes)]
    rows = {name: torch.cat([part[name] for part in parts]).chunk(world)[rank] for name in own if "carry." in name}
    return own | rows


def newest_undamaged(output_dir: Path, accelerator: Accelerator) -> Path | None:
    """The checkpoint to go on from, the same on all processes; newer ones are renamed `.damaged`.

    Raises:
        UserError: there are checkpoints, but all are damaged, or one cannot be read.
    """
    choice: list[Any] = [None, None]

    def choose() -> None:
        damages = {}
        for folder in reversed(list_checkpoints(output_dir)):
            damage = find_damage(folder)
            if damage is None:
                choice[:] = [folder, None]
                break
            damages[folder] = choice[1] = damage
        if choice[0] is not None:
            for folder, damage in damages.items():
                aside = folder.with_name(folder.name + ".damaged")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
                accelerator.print(f"warning: {folder} is damaged ({damage}): using {choice[0].name}")

    failure = failure_of(choose if accelerator.is_main_process else lambda: None, accelerator)
    require(failure is None, f"the checkpoints in {output_dir} cannot be read: {failure}")
    folder, damage = broadcast_object_list(choice)
    require(damage is None, f"all checkpoints in {output_dir} are damaged ({damage}): remove the folder to start anew")
    return folder


def rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def defaults() -> dict[str, Any]:
    """What a setting was before the code that wrote the checkpoint knew of it."""
    own = {field.name: field.default for field in fields(TrainArguments)}
    return own | {f"model.{name}": getattr(TrmConfig, name) for name in TrmConfig.__annotations__}


def list_checkpoints(output_dir: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    folder = output_dir / "checkpoints"
    try:
        return sorted(path for path in folder.iterdir() if FOLDER_NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def save_model(model: TrmForPuzzleSolving, processor: TrmProcessor, folder: Path) -> None:
    """Writes weights, configuration, processor and remote code: a folder for `from_pretrained` and `pipeline`."""
    with written_whole(folder) as temporary:
        PuzzleSolvingPipeline(model=model, processor=processor, device=model.device).save_pretrained(temporary)
