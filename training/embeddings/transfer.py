# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Starting from a trained model, and learning puzzles that are new to it (test-time training on ARC).

The rows of the embedding table belong to the puzzles of one data set. Their names travel with the model, in its
processor and for ARC, with the augmentations, in `puzzles.json`: another run takes over the rows of the puzzles it
shares, whatever their order; rows of new puzzles start at the mean of the trained ones.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets_scripts.arc_augmentation import FIRST_ID, AugmentedTasks
from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from modeling_trm.loading import UNLOADABLE, find_model, read_object

from ..arguments import TrainArguments
from ..errors import require, user_errors
from ..evaluation.scores import load_model, load_processor

PUZZLE_TABLE = "model.puzzle_embeddings.weight"
RECORD_NAME = "puzzles.json"
ROWS_AT_ONCE = 65536
# What a run may do otherwise than the one before it: depth, halting, loss, its puzzles, where states start.
NOT_ARCHITECTURE = (
    "deep_cycles",
    "gradient_cycles",
    "latent_cycles",
    "gradient_latent_cycles",
    "max_supervision_steps",
    "max_solve_steps",
    "halt_exploration_prob",
    "halt_q_learning",
    "halt_threshold",
    "halt_loss_weight",
    "loss_type",
    "label_smoothing",
    "answer_token_ids",
    "num_puzzles",
    "random_initial_states",
    "state_damping",
)


def puzzle_record(tasks: AugmentedTasks) -> dict[str, Any]:
    """The contents of `puzzles.json`: what each row of the embedding table stands for."""
    first, counts = tasks.first_ids.tolist(), tasks.first_ids.diff().tolist()
    rows = {name: list(span) for name, *span in zip(tasks.names, first, counts, strict=False)}
    return {"data_seed": tasks.seed, "num_augmentations": tasks.num_augmentations, "first_id_and_count": rows}


def read_puzzle_record(folder: str | Path) -> dict[str, Any] | None:
    """The record of a model in a folder, if it has one.

    Raises:
        UserError: it is another kind of file.
    """
    path = Path(folder) / RECORD_NAME
    if not path.exists():
        return None
    with user_errors("", ValueError, OSError):
        record = read_object(path)
    spans = record.get("first_id_and_count")
    is_record = isinstance(spans, dict) and all(
        isinstance(span, list) and len(span) == 2 and all(type(number) is int for number in span)
        for span in spans.values()
    )
    is_record &= {"data_seed", "num_augmentations"} <= record.keys()
    require(is_record, f"{path} is no record of puzzles as train.py writes it")
    return record


def check_same_puzzles(folder: str | Path, num_puzzles: int, tasks: AugmentedTasks) -> None:
    """Raises `UserError` if the embedding table in `folder`, of `num_puzzles` rows, belongs to other puzzles."""
    record, ours = read_puzzle_record(folder), puzzle_record(tasks)
    for name in ("num_augmentations", "data_seed") if record else ():
        require(
            record[name] == ours[name],
            f"{folder} was trained with {name}={record[name]}, not {ours[name]}: add --{name} {record[name]}",
        )
    same = num_puzzles == tasks.num_puzzles and (record or ours) == ours
    require(same, f"{folder} was trained on other puzzles: learn these first with train.py --freeze_network true")


def read_rows(folder: str | Path, num_puzzles: int) -> dict[str, int]:
    """The row of each puzzle id that a model in a folder knows by name, see `TrmProcessor`."""
    if num_puzzles == 1:
        return {"": 0}
    processor = load_processor(str(folder))
    rows = processor.puzzle_ids if processor else None
    require(rows is not None, f"{folder} was saved without the names of its puzzle ids: train it anew")
    return rows


def puzzles_of(folder: str | Path, num_puzzles: int, puzzles: Puzzles) -> Puzzles:
    """`puzzles` with the identifiers that a model in `folder` was trained on, whose table has `num_puzzles` rows.

    Those of one's own puzzles go by their names. Those of ARC are ours, a function of a seed, unless the model was
    converted: then its record spells each of them out.

    Raises:
        UserError: it was trained on other puzzles.
    """
    if puzzles.puzzle_ids is None:
        return puzzles
    if puzzles.augmented_tasks is None:
        rows, names = read_rows(folder, num_puzzles), names_of(puzzles)
        unknown = sorted(set(names) - set(rows))
        known = ", ".join(list(rows)[:10])
        require(not unknown, f"{folder} was not trained on the puzzle id {unknown[:1]}; it knows {known}")
        return replace(puzzles, puzzle_ids=torch.tensor([rows[name] for name in names]))
    record, ours = read_puzzle_record(folder), puzzles.augmented_tasks
    if record is None or "augmentations" not in record:
        check_same_puzzles(folder, num_puzzles, ours)
        return puzzles
    rows = record["first_id_and_count"]
    names = ours.names_of(puzzles.puzzle_ids)
    unknown = sorted(set(names) - set(rows))
    require(not unknown, f"{folder} was not trained on {len(unknown)} of these tasks, such as {unknown[:1]}")
    first = min(first for first, _ in rows.values())
    spelled = [text for name in rows for text in record["augmentations"][name]]  # such as "3 0123456789"
    spelled = ["0 0123456789"] * (first - FIRST_ID) + spelled  # identifiers of nobody
    digits = np.frombuffer("".join(spelled).encode(), np.int8).reshape(len(spelled), -1) - np.int8(ord("0"))
    dihedral, colours = torch.from_numpy(digits[:, 0].copy()), torch.from_numpy(digits[:, 2:].copy())
    first_ids = torch.tensor([first, *(count for _, count in rows.values())]).cumsum(0)
    theirs = replace(ours, names=list(rows), first_ids=first_ids, dihedral=dihedral, colours=colours)
    require(num_puzzles == theirs.num_puzzles, f"{folder} has {num_puzzles} embeddings, not {theirs.num_puzzles}")
    return replace(puzzles, augmented_tasks=theirs, puzzle_ids=theirs.ids_of(names))


def names_of(puzzles: Puzzles) -> list[str]:
    """The name of each puzzle's id, "" where it has none."""
    if puzzles.puzzle_ids is None:
        return [""] * len(puzzles)
    if puzzles.augmented_tasks is not None:
        return puzzles.augmented_tasks.names_of(puzzles.puzzle_ids)
    name_of = {row: name for name, row in puzzles.row_of_id.items()}
    return [name_of[row] for row in puzzles.puzzle_ids.tolist()]


def start_from(model: TrmForPuzzleSolving, args: TrainArguments, puzzles: Puzzles) -> Puzzles:
    """Fills `model` from `args.init_from`; with `args.freeze_network` only embeddings of new puzzles stay trainable.

    Returns:
        the puzzles to train on: all, or those that are new to the trained model.

    Raises:
        UserError: there is no such model, it is of another architecture, or it knows all the puzzles.
    """
    with user_errors(f"cannot load the model {args.init_from!r}: ", *UNLOADABLE):
        folder = find_model(args.init_from)
    trained = load_model(folder, model.dtype)
    ours, theirs = model.config, trained.config
    fields = [name for name in TrmConfig.__annotations__ if name not in NOT_ARCHITECTURE]
    unlike = [name for name in fields if getattr(ours, name) != getattr(theirs, name)]
    differences = ", ".join(f"{name}={getattr(theirs, name)}, not {getattr(ours, name)}" for name in unlike)
    require(not unlike, f"init_from={args.init_from} is of another architecture: it has {differences}")
    weights = trained.state_dict()
    rows = weights.pop(PUZZLE_TABLE, None)
    own = {name: weight for name, weight in model.state_dict().items() if name == PUZZLE_TABLE}
    model.load_state_dict(weights | own)
    table = model.model.puzzle_embeddings
    tasks, known = puzzles.augmented_tasks, set[str]()
    if table is not None and tasks is None:
        own_rows, their_rows = puzzles.row_of_id, read_rows(folder, len(rows))
        known = set(own_rows) & set(their_rows)
        table.weight.data[:] = mean_of_trained(rows)
        for name in known:
            table.weight.data[own_rows[name]] = rows[their_rows[name]]
    elif table is not None:
        known = take_over_rows(table.weight.data, rows, tasks, read_puzzle_record(folder), args.init_from)
    if not args.freeze_network:
        return puzzles

    require(table is not None, f"freeze_network=true: {args.init_from} has no puzzle embeddings to learn")
    new = torch.tensor([name not in known for name in names_of(puzzles)])
    require(
        bool(new.any()), f"freeze_network=true: {args.init_from} has seen all these puzzles, there are none to learn"
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == PUZZLE_TABLE)
    kept = new.nonzero().squeeze(1)
    return replace(
        puzzles,
        input_ids=puzzles.input_ids[kept],
        labels=puzzles.labels[kept],
        puzzle_ids=puzzles.puzzle_ids[kept],
        source=[puzzles.source[row] for row in kept.tolist()],
    )


def take_over_rows(
    rows: Tensor, trained: Tensor, tasks: AugmentedTasks, record: dict[str, Any] | None, folder: str
) -> set[str]:
    """Copies into `rows` the embeddings of the tasks that both tables know; the others become the mean of the trained.

    Returns:
        the names of the known tasks.
    """
    spans = record["first_id_and_count"] if record else {}
    known = [name for name in tasks.names if name in spans]
    seed = record["data_seed"] if record else None
    mend = "its rows are of the official code's" if seed is None else f"add --data_seed {seed}"
    require(not known or seed == tasks.seed, f"{folder} was trained with other augmentations: {mend}")
    rows[FIRST_ID:] = mean_of_trained(trained).to(rows)
    firsts, counts = tasks.ids_of(known).tolist(), tasks.counts_of(tasks.ids_of(known)).tolist()
    for name, first, count in zip(known, firsts, counts, strict=True):
        old_first, old_count = spans[name]
        count = min(count, old_count)  # the first augmentations do not depend on how many follow
        rows[first : first + count] = trained[old_first : old_first + count].to(rows)
    return set(known)


def mean_of_trained(table: Tensor) -> Tensor:
    """The mean of the rows [n, size] that were ever trained, which are not zero. Makes no copy of the table."""
    total, count = torch.zeros(table.shape[1], dtype=torch.float64), 0
    for rows in table.split(ROWS_AT_ONCE):
        total += rows.sum(0, dtype=torch.float64)
        count += int((rows != 0).any(1).sum())
    return total / max(count, 1)
