# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Solves one puzzle on screen, step by step:  python -m modeling_trm --model runs/sudoku_easy 53..7....6..195...

The puzzle is a string, a file, or standard input.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModel, AutoProcessor
from transformers.utils import logging

from .rendering_trm import render_grid


def read_puzzle(given: str) -> str:
    """The puzzle itself: `given`, the text of the file of that name, or standard input for `-`."""
    if given == "-":
        return sys.stdin.read()
    return Path(given).read_text() if len(given) < 1024 and os.path.isfile(given) else given


def fail(message: str) -> int:
    """Tells the user what is wrong, in one line; the exit status."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modeling_trm", description="Solve a puzzle step by step.")
    parser.add_argument(
        "puzzle", nargs="?", default="-", help="the puzzle, a file that holds it, or - for standard input"
    )
    parser.add_argument("--model", required=True, help="folder or Hub repository of a trained model")
    parser.add_argument("--max_steps", type=int, help="the most steps; the model's own when not given")
    args = parser.parse_args(arguments)
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(args.model, dtype=torch.float32)
        processor = AutoProcessor.from_pretrained(args.model)
    except (ValueError, OSError, SafetensorError, StrictDataclassError) as error:
        return fail(f"cannot load the model {args.model}: {error}")
    try:
        question = processor(read_puzzle(args.puzzle))["input_ids"]
        solution = model.solve(question, max_steps=args.max_steps, return_steps=True)
    except (ValueError, OSError) as error:
        return fail(str(error))

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    clues = question[0]
    print(f"The puzzle\n\n{render_grid(processor, clues, color=color)}\n")
    previous = clues
    for step, (answer, halt_logit) in enumerate(
        zip(solution.step_answers[0], solution.step_halt_logits[0], strict=True), start=1
    ):
        changed = int((answer != previous).sum())
        print(f"After step {step}: {changed} cells changed, {torch.sigmoid(halt_logit):.1%} sure of being right\n")
        print(f"{render_grid(processor, answer, clues, previous, color)}\n")
        previous = answer
    print("The model stopped by itself." if solution.halted[0] else "The steps ran out: not solved with confidence.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
