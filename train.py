# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Trains TRM:  accelerate launch train.py --config recipes/sudoku_easy.yaml [--field value ...]

The same command again goes on from the last checkpoint. The result is a folder for `from_pretrained`. With
`--dry_run true` it only says what the run would take.
"""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm
from transformers.utils import logging

from datasets_scripts.tasks import Puzzles, remarks
from modeling_trm import TrmProcessor
from training.arguments import HubArguments, TrainArguments, build_config_of, model_arguments, parse_arguments
from training.batches import load_splits
from training.devices import build_autocast, check_launcher
from training.dry_run import DryRunArguments, describe
from training.errors import run_command, user_errors
from training.evaluation.arc import report_arc
from training.evaluation.results import describe_run, merge_results, read_results, weights_of
from training.evaluation.scores import report
from training.loop import build_accelerator, evaluate_average, train
from training.meters import summary
from training.publishing.cards import RESULTS, TRAIN_ARGS, training_record, write_card
from training.publishing.publish import BackgroundPublisher, open_repository, publish_final
from training.state import TrainState
from training.stopping import Stopper, signal_note
from training.storage import held, write_json


def main(command_line: list[str]) -> None:
    kinds = [TrainArguments, HubArguments, model_arguments(), DryRunArguments]
    args, hub, model_args, dry = parse_arguments(kinds, command_line)
    if dry.dry_run:
        if os.environ.get("RANK", "0") == "0":
            print(describe(args, model_args, dry))
        return
    check_launcher(args.mixed_precision)
    output_dir = Path(args.output_dir)
    earlier_results = read_results(output_dir / RESULTS)
    logging.disable_progress_bar()
    with user_errors("", ValueError, OSError):
        splits = load_splits(args)
    puzzle_format = splits["train"].format
    row_of_id = splits["train"].row_of_id
    processor = TrmProcessor(**puzzle_format.processor, puzzle_ids=None if set(row_of_id) == {""} else row_of_id)
    config = build_config_of(model_args, puzzle_format, splits["train"].num_puzzles)
    accelerator = build_accelerator(args)
    chosen = "" if args.num_train_puzzles is None else ", the most that num_train_puzzles takes of all there are"
    chosen = chosen if len(splits["train"]) == args.num_train_puzzles else ""
    accelerator.print(f"training on {len(splits['train']):,} puzzles{chosen}", *remarks(**splits), sep="\n")
    fields = {**vars(args), **vars(model_args)}  # trackers know numbers and strings
    accelerator.init_trackers(
        "trm", config={name: str(value) if isinstance(value, list) else value for name, value in fields.items()}
    )
    described, repository, publisher = describe_run(accelerator.device), None, None
    record = partial(training_record, args, model_args, splits["train"], accelerator.num_processes, described)
    if accelerator.is_main_process:
        repository = open_repository(hub, args.hub_private, print)
    if repository is not None and args.hub_strategy == "every_save":
        folder = output_dir / "checkpoints"
        publisher = BackgroundPublisher(repository, args.hub_private, folder, record, tqdm.write)
    on_save = publisher.submit if publisher else None
    with signal_note, held(output_dir, accelerator):
        state = train(args, config, processor, splits["train"], splits["test"], accelerator, on_save)
        scores = {} if state is None else final_scores(state, splits["test"], args, accelerator)
        if state is not None and scores:
            state.best_accuracy = max(state.best_accuracy, scores.get("exact_accuracy", -1.0))
            results = {
                "model": output_dir.resolve().name,
                "task": args.task,
                "dataset": splits["test"].config,
                "dataset_id": record(state)["data"]["dataset_id"],
                "split": "test",
                **scores,
            }
            dtype = "float32" if build_autocast(args, accelerator) is nullcontext else "bfloat16"
            results |= {"dtype": dtype, "seed": args.seed, "data_seed": args.data_seed, **described}
            if accelerator.is_main_process:
                results["weights"] = weights_of(output_dir)
                merged = merge_results(earlier_results, [results], results["weights"])
                write_json(merged, output_dir / RESULTS, indent=2)
                write_json(record(state), output_dir / TRAIN_ARGS)
                write_card(output_dir)
            table = report_arc if splits["test"].augmented_tasks else report
            accelerator.print(f"{table(results)}\n\n{summary(state, accelerator)}")
            accelerator.print(f"the model is in {args.output_dir}")
    if scores and publisher is not None:
        publisher.close()
    if scores and repository is not None:
        print(publish_final(repository, output_dir, args.hub_private))
    accelerator.end_training()


def final_scores(state: TrainState, puzzles: Puzzles, args: TrainArguments, accelerator: Accelerator) -> dict:
    """Scores of the averaged weights on all test puzzles; none if a signal came, which is then reported."""
    count = state.model.num_parameters()
    accelerator.print(f"trained {count:,} parameters in {state.seconds:.0f} s; evaluating the averaged weights")
    output_dir, files = Path(args.output_dir), dict[str, Any]()
    if puzzles.augmented_tasks:
        files = {"submission": output_dir / "submission.json", "resume_dir": output_dir / "checkpoints" / "votes"}
    stopper = Stopper(accelerator, time_limit_minutes=None)
    scores = evaluate_average(state, puzzles, args, accelerator, stopped=stopper.requested, **files)
    reason = stopper.reason(now=True)
    if not scores:
        accelerator.print(f"{reason}: stopped in the last evaluation; the same command does it again")
    return scores


if __name__ == "__main__":
    run_command(main)
