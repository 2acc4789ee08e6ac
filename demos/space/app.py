# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A Gradio Space that solves puzzles step by step.  `python -m demos.build space` puts one together.

A visitor may name any TRM of the Hub. Its weights are read by the `modeling_trm` package that lies here; the code that
a repository brings is never run.
"""

import html
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from huggingface_hub import get_safetensors_metadata
from transformers.utils import logging

from modeling_trm import PuzzleSolvingPipeline, TrmConfig, TrmForPuzzleSolving, TrmProcessor

HERE = Path(__file__).parent
MODELS: dict[str, str] = json.loads((HERE / "space.json").read_text())["models"]  # name -> folder here, or ORG/NAME
EXAMPLES: list[list[str]] = json.loads((HERE / "space.json").read_text())["examples"]  # puzzle, model
LARGEST = 100_000_000  # parameters of a model that a visitor names
LONGEST = 4096  # supervision steps of all attempts together
FIRST = next(iter(MODELS))
logging.disable_progress_bar()


def refuse(message: object) -> gr.Error:
    """An error that the visitor sees as one line, and the log not at all."""
    return gr.Error(" ".join(str(message).split())[:300], print_exception=False)


@lru_cache(maxsize=4)
def load(model: str) -> PuzzleSolvingPipeline:
    """The pipeline of a model of this Space, or of a TRM of the Hub that is small enough.

    Raises:
        gr.Error: there is no such model, it is no TRM, or too large.
    """
    source = MODELS.get(model, model)
    try:
        if model not in MODELS:
            if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model) or Path(model).exists():
                raise refuse(f"“{model}” is no model of the Hub: it should read like ORG/NAME")
            kind = TrmConfig.get_config_dict(model)[0].get("model_type")
            if kind != "trm":
                raise refuse(f"{model} is a model of type {kind}, not trm")
            count = sum(get_safetensors_metadata(model).parameter_count.values())
            if count > LARGEST:
                raise refuse(f"{model} has {count:,} parameters; this Space takes up to {LARGEST:,}")
        elif (HERE / source).is_dir():
            source = str(HERE / source)
        network = TrmForPuzzleSolving.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
        return PuzzleSolvingPipeline(model=network, processor=TrmProcessor.from_pretrained(source))
    except gr.Error:  # a ValueError too
        raise
    except (OSError, ValueError) as error:
        raise refuse(f"cannot load {model}: {error}") from error


def solve(
    puzzle: str,
    model: str = FIRST,
    attempts: int = 16,
    max_steps: int = 16,
    rules_decide: bool = True,
    noise: float = 0.0,
    puzzle_id: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Solves a puzzle.

    Args:
        puzzle: of a Sudoku its symbols, row by row (`.` or `0` for a blank); of a maze lines of `# SG`; an ARC task as
            JSON.
        model: one of this Space, or ORG/NAME of the Hub.
        attempts: the most attempts, at symmetric views of the puzzle and from other random states.
        max_steps: the most supervision steps of each.
        rules_decide: whether the rules of the puzzle, where it has some, say what is solved, in place of the model.
        noise: deviation of the noise on the model's states.
        puzzle_id: of a model that has learned an embedding for each puzzle, as of ARC.
        seed: of views, states and noise.

    Returns:
        `puzzle`, `grid`, `answer`, `solved`, `confidence`, `steps`, `attempts`, `verified`, and in `trace` for each
        step `grid`, `confidence` and `changed`.
    """
    pipe = load(model)
    if attempts * max_steps > LONGEST:
        raise refuse(f"{attempts} attempts of {max_steps} steps are too many: at most {LONGEST} steps in all")
    config, processor = pipe.model.config, pipe.processor
    if noise == 0 and not config.random_initial_states:  # there are no more attempts than views
        views = 1 if processor.random_symmetry is None else processor.num_symmetries
        attempts = min(attempts, views or attempts)
    options: dict[str, Any] = {
        "attempts": int(attempts),
        "max_steps": int(max_steps),
        "noise_std": float(noise),
        "seed": int(seed),
    }
    if config.num_puzzle_tokens:
        options["puzzle_ids"] = torch.tensor([int(puzzle_id)])
    try:
        verify = bool(rules_decide) and processor.verifier is not None
        return pipe([puzzle], return_steps=True, verify=verify, **options)[0]
    except ValueError as error:
        raise refuse(error) from error


def show(puzzle: str, model: str, *options: Any) -> tuple[str, str]:
    """One sentence, and the steps as a page inside the page."""
    result = solve(puzzle, model, *options)
    kept = {True: "keeps the rules", False: "breaks the rules", None: "has no rules to keep"}[result.get("verified")]
    taken = f"{result['steps']} steps" + (
        f" of one of {result['attempts']} attempts" if result["attempts"] > 1 else ""
    )
    verdict = f"**{'Solved' if result['solved'] else 'Not solved'}** in {taken}."
    page = html.escape(load(model).processor.render(result, "html"))
    return (
        f"{verdict} The answer {kept}; the model is {result['confidence']:.1%} sure.",
        f'<iframe title="Steps" srcdoc="{page}" class="steps"></iframe>',
    )


def build() -> gr.Blocks:
    with gr.Blocks(title="TRM solves puzzles") as demo:
        gr.Markdown(
            "# Watch a tiny network think\n"
            "The Tiny Recursive Model ([arXiv 2510.04871](https://arxiv.org/abs/2510.04871)) "
            "writes a whole answer, then improves it again and again until it is sure."
        )
        with gr.Row():
            with gr.Column():
                puzzle = gr.Textbox(
                    label="Puzzle", lines=3, max_lines=30, info="A blank is . or 0; an ARC task is JSON."
                )
                model = gr.Dropdown(
                    list(MODELS), value=FIRST, label="Model, or ORG/NAME of the Hub", allow_custom_value=True
                )
                button = gr.Button("Solve", variant="primary")
                with gr.Accordion("Settings", open=False):
                    attempts = gr.Slider(1, 128, 16, step=1, label="Attempts")
                    max_steps = gr.Slider(1, 256, 16, step=1, label="Steps of each, at most")
                    rules_decide = gr.Checkbox(True, label="The rules say what is solved, not the model")
                    noise = gr.Slider(0, 2, 0, step=0.1, label="Noise on its states")
                    puzzle_id = gr.Number(
                        0, precision=0, minimum=0, label="Puzzle id that the model has learned (ARC)"
                    )
                    seed = gr.Number(0, precision=0, minimum=0, label="Seed")
                gr.Examples(EXAMPLES, [puzzle, model])
            with gr.Column():
                status = gr.Markdown("Take an example, or paste a puzzle.")
                steps = gr.HTML()
        given = [puzzle, model, attempts, max_steps, rules_decide, noise, puzzle_id, seed]
        gr.on(
            [button.click, puzzle.submit], show, given, [status, steps], api_visibility="private", concurrency_limit=2
        )
        gr.api(solve, api_name="solve", concurrency_limit=2)
    return demo.queue(max_size=32)


if __name__ == "__main__":
    build().launch(css=".steps { width: 100%; height: 44rem; border: 0; background: #fff; }", footer_links=["api"])
