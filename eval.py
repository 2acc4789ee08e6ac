# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Scores a model:  python eval.py --model runs/sudoku_easy --task sudoku --split test --output results.json

With `--sweep num_rollouts=1,4,16` it is scored once for each value, and the curve is drawn beside the results.
"""

from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import AutoModel
from transformers.utils import logging

import modeling_trm  # noqa: F401  (registers TRM with the Auto classes)
from datasets_scripts.tasks import TASKS, load_puzzles
from training.arguments import EvalArguments, parse_arguments, run_command, user_errors
from training.evaluation import describe_run, evaluate, report, write_results
from training.sweeps import parse_sweep, plot_sweep


def main(command_line: list[str]) -> None:
    (args,) = parse_arguments([EvalArguments], command_line)
    swept, values = parse_sweep(args) if args.sweep else (None, [])
    logging.disable_progress_bar()
    with user_errors(ValueError, OSError):
        puzzles = load_puzzles(
            args.task,
            args.dataset_config,
            args.split,
            data_dir=args.data_dir,
            seed=args.data_seed,
            max_examples=args.max_examples,
        )
        model = AutoModel.from_pretrained(args.model, dtype=getattr(torch, args.dtype))
    accelerator = Accelerator(mixed_precision="no")
    options = {
        name: getattr(args, name)
        for name in ("max_steps", "min_steps", "halt_threshold", "num_rollouts", "noise_std", "augmentations")
    }
    options |= {"selection": args.selection, "seed": args.seed, "random_symmetry": puzzles.format.random_symmetry}
    options["verify"] = TASKS[args.task].checker if args.verify else None
    all_results = []
    for setting in [{swept: value} for value in values] or [{}]:
        with user_errors(ValueError):
            scores = evaluate(
                model.to(accelerator.device),
                puzzles,
                batch_size=args.batch_size,
                accelerator=accelerator,
                **options | setting,
            )
        results = {"model": args.model, "task": args.task, "dataset": puzzles.config, "split": args.split, **scores}
        results |= {
            "dtype": args.dtype,
            "seed": args.seed,
            "data_seed": args.data_seed,
            **describe_run(accelerator.device),
        }
        accelerator.print(*(f"{name} = {value}" for name, value in setting.items()), report(results), sep="\n")
        all_results.append(results)
    if accelerator.is_main_process and args.output:
        write_results(all_results if swept else all_results[0], Path(args.output))
        if swept:
            plot_sweep(all_results, swept, Path(args.output).with_suffix(".png"))


if __name__ == "__main__":
    run_command(main)
