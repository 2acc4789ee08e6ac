# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Scores a model:  python eval.py --model runs/sudoku_easy --task sudoku --split test --output results.json

With `--sweep attempts=1,4,16` it is scored once for each value, and the curve is drawn beside the results.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging

from datasets_scripts.tasks import TASKS, load_puzzles
from modeling_trm import TrmProcessor
from modeling_trm.hub_trm import HubError
from modeling_trm.loading import UNLOADABLE, find_model
from training.arguments import EvalArguments, HubArguments, parse_arguments
from training.devices import check_launcher, compile_network, start_accelerator
from training.embeddings.transfer import puzzles_of
from training.errors import require, run_command, user_errors
from training.evaluation.arc import evaluate_arc, report_arc
from training.evaluation.results import describe_run, weights_of
from training.evaluation.scores import check_fit, evaluate, load_model, load_processor, report
from training.evaluation.sweeps import parse_sweep, plot_sweep
from training.publishing.publish import open_for_results, publish_results
from training.storage import require_writable, write_json


def main(command_line: list[str]) -> None:
    args, hub = parse_arguments([EvalArguments, HubArguments], command_line)
    check_launcher("no")
    swept, values = parse_sweep(args) if args.sweep else (None, [])
    require(not (args.sweep and hub.push_to_hub), "--sweep makes a curve, which is no result to publish")
    for name in (args.output, args.submission if args.task == "arc-agi" else None):
        if name:
            require_writable(Path(name))
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what is wrong is said in one line
    with user_errors(f"cannot load the model {args.model!r}: ", *UNLOADABLE):
        folder = find_model(args.model, args.revision)
    model = load_model(folder, getattr(torch, args.dtype))
    with user_errors("", ValueError, OSError):
        puzzles = load_puzzles(
            args.task,
            args.dataset_config,
            args.split,
            data_dir=args.data_dir,
            seed=args.data_seed,
            num_augmentations=args.num_augmentations,
            max_examples=args.max_examples,
            processor=load_processor(folder),
        )
    check_fit(folder, model, puzzles)
    accelerator = start_accelerator()
    weights = weights_of(folder)
    repository = open_for_results(hub, args.model, weights, print) if accelerator.is_main_process else None
    model = model.to(accelerator.device)
    if args.compile:
        compile_network(model, accelerator, batch_sizes_vary=True)
    run: Callable[..., dict] = evaluate
    show = report
    if model.config.num_puzzle_tokens or puzzles.augmented_tasks:
        puzzles = puzzles_of(folder, model.config.num_puzzles, puzzles)
    if puzzles.augmented_tasks:
        submission = Path(args.submission)
        resume_dir = submission.with_name(submission.name + ".votes")
        run = partial(evaluate_arc, num_votes=args.num_votes, submission=submission, resume_dir=resume_dir)
        show = report_arc
    names = ("max_steps", "min_steps", "halt_threshold", "attempts", "noise_std", "selection", "seed")
    options = {name: getattr(args, name) for name in names}
    checker = TASKS[args.task].checker
    require(not args.verify or checker is not None, f"verify: {args.task} has no rule to check answers by")
    processor = TrmProcessor(**puzzles.format.processor)
    options |= {"random_symmetry": processor.random_symmetry, "num_symmetries": processor.num_symmetries}
    options["verify"] = checker if args.verify else None
    settings = [{swept: value} for value in values] or [{}]
    for setting in settings:
        with user_errors("", ValueError, TypeError):
            model.plan_solving(**options | setting)
    all_results = []
    for setting in settings:
        with user_errors("", ValueError):
            scores = run(model, puzzles, batch_size=args.batch_size, accelerator=accelerator, **options | setting)
        results = {
            "model": Path(folder).resolve().name if folder == args.model else args.model,
            "revision": args.revision,
            "task": args.task,
            "dataset": puzzles.config,
            "dataset_id": args.hub_dataset or TASKS[args.task].hub_dataset(puzzles.config, args.data_dir),
            "split": args.split,
            **scores,
        }
        results |= {
            "weights": weights,
            "dtype": args.dtype,
            "compile": args.compile,
            "seed": args.seed,
            "data_seed": args.data_seed,
            **describe_run(accelerator.device),
        }
        all_results.append(results)
        if accelerator.is_main_process and args.output:
            write_json(all_results, Path(args.output), indent=2)
            if swept:
                plot_sweep(all_results, swept, values, Path(args.output).with_suffix(".png"))
        accelerator.print(*(f"{name} = {value}" for name, value in setting.items()), show(results), sep="\n")
    if repository is not None:
        with user_errors("", HubError):
            publish_results(repository, all_results)
        print(f"published {repository.url}")


if __name__ == "__main__":
    run_command(main)
