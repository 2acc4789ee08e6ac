# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The model card: `model_card.md` filled from `config.json`, `train_args.json` and `results.json`, and nothing else.

A field that none of them tells reads "not recorded". The table of evaluations stands between two comments, so that new
results can replace it in a card that a person has edited.
"""

import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from datasets_scripts.tasks import TASKS, Puzzles
from modeling_trm.loading import read_object

from ..arguments import TrainArguments, model_arguments
from ..errors import user_errors
from ..evaluation.results import read_results
from ..state import TrainState
from ..storage import write_text

TEMPLATE = Path(__file__).parents[2] / "model_card.md"
TRAIN_ARGS, RESULTS, CARD, EVAL_RESULTS = "train_args.json", "results.json", "README.md", ".eval_results/trm.yaml"
UNKNOWN = "not recorded"
SECTION = re.compile(r"<!-- evaluation -->.*<!-- /evaluation -->", re.DOTALL)
PRIVATE = ("report_to", "hub_strategy", "hub_private", "hub_revision", "hub_dataset", "hub_license", "push_to_hub")
LOCAL_PATHS = ("output_dir", "data_dir", "init_from")  # nobody else's business, but for the last part
FIELDS = {field.name for part in (TrainArguments, model_arguments()) for field in fields(part)}  # of a recipe


def training_record(
    args: TrainArguments,
    model_args: Any,
    puzzles: Puzzles,
    num_processes: int,
    described: dict[str, Any],
    state: TrainState,
) -> dict[str, Any]:
    """The contents of `train_args.json`: the recipe, its data, and what carrying it out took.

    Args:
        args, model_args: the recipe.
        puzzles: the training split.
        described: hardware and software, of `describe_run`.
        state: how far training has come.
    """
    task = TASKS[args.task]
    source = next(config for config in task.builder.CONFIGS if config.name == puzzles.config)
    arguments = {name: value for name, value in {**vars(args), **vars(model_args)}.items() if value is not None}
    if args.num_train_puzzles is None and args.task != "arc-agi":
        arguments["num_train_puzzles"] = "all"
    arguments |= {name: Path(arguments[name]).name for name in LOCAL_PATHS if is_local(arguments.get(name))}
    augment = puzzles.format.augment if args.augment is None else args.augment
    augment = augment and puzzles.format.random_symmetry is not None
    return {
        "arguments": {name: value for name, value in arguments.items() if name not in PRIVATE},
        "data": {
            "task": args.task,
            "dataset_config": puzzles.config,
            "description": source.description,
            "source": "own files" if args.data_dir else source.homepage or None,
            "license": None if args.data_dir else source.license or None,
            "dataset_id": args.hub_dataset or task.hub_dataset(puzzles.config, args.data_dir),
            "train_puzzles": len(puzzles),
            "augmentation": "a random symmetry each time a puzzle is seen" if augment else "none",
        },
        "license": args.hub_license,
        "num_parameters": state.model.num_parameters(),
        "step": state.step,
        "max_steps": args.max_steps,
        "seconds": round(state.seconds, 1),
        "device_seconds": round(state.device_seconds, 1),
        "num_processes": num_processes,
        **described,
    }


def is_local(name: str | None) -> bool:
    """Whether it is a file or folder here; `init_from` may be a repository of the Hub."""
    return name is not None and Path(name).exists()


def write_card(folder: Path, repo_id: str | None = None, tag: str | None = None) -> None:
    """Writes the card of a model folder, and the results as the Hub's benchmarks read them.

    Args:
        folder: holds `config.json` and, as far as they are known, `train_args.json` and `results.json`.
        repo_id: the model's name on the Hub; the folder's when not given.
        tag: the revision for the reader to pin.
    """
    with user_errors("", ValueError, OSError):
        config = read_object(folder / "config.json")
        trained = read_object(folder / TRAIN_ARGS) if (folder / TRAIN_ARGS).exists() else {}
    results = read_results(folder / RESULTS)
    write_text(render_card(config, trained, results, repo_id or folder.resolve().name, tag), folder / CARD)
    benchmarks = folder / EVAL_RESULTS
    benchmarks.unlink(missing_ok=True)
    if entries := render_eval_results(results):
        write_text(entries, benchmarks)


def render_card(
    config: dict[str, Any], trained: dict[str, Any], results: list[dict[str, Any]], name: str, tag: str | None
) -> str:
    """The text of README.md, its YAML header included; of the recipe, the fields that recipes have today."""
    trained = defaultdict(lambda: None, trained)
    arguments, data = trained["arguments"], defaultdict(lambda: None, trained["data"] or {})
    task = data["task"] or next((result["task"] for result in results), None)
    metadata = ModelCardData(
        license=trained["license"],
        library_name="transformers",
        pipeline_tag="other",
        tags=["trm", "recursive-reasoning", "puzzle-solving", "custom_code", *([task] if task else [])],
        datasets=[data["dataset_id"]] if data["dataset_id"] else None,
        model_name=name,
    )
    set_results(metadata, results)
    recipe = {name: value for name, value in (arguments or {}).items() if name in FIELDS}
    seconds, threads, device = trained["seconds"], trained["num_threads"], trained["device"]
    contents = {
        "metadata": metadata.to_yaml(),
        "name": name,
        "task": task,
        "config": config,
        "is_hrm": config.get("num_answer_layers", 0) > 0,  # which configurations of earlier versions do not have
        "max_steps": config["max_solve_steps"] or config["max_supervision_steps"],
        "parameters": trained["num_parameters"] and f"{trained['num_parameters']:,}",
        "weights": arguments and f"the average over training, in {arguments.get('weights_dtype', 'float32')}",
        "trained": trained,
        "unfinished": trained["step"] is not None and trained["step"] < trained["max_steps"],
        "pin": f' revision="{tag}",' if tag else "",
        "data": data,
        "time": seconds and f"{seconds:,.0f} s, with its checkpoints and periodic evaluations",
        "cost": cost_of(trained),
        "hardware": device
        and f"{trained['num_processes']} x {device}" + (f", {threads} thread(s)" if threads else ""),
        "software": ", ".join(f"{key} {value}" for key, value in (trained["versions"] or {}).items()) or None,
        "recipe": recipe and yaml.safe_dump(recipe, sort_keys=False).strip(),
        "rows": [row_of(result) for result in results],
    }
    return environment().get_template(TEMPLATE.name).render(contents)


def update_card(text: str | None, name: str, results: list[dict[str, Any]]) -> str:
    """A card with new results; all else in it stays, whoever wrote it. Without a card, one of the results alone."""
    template = environment().get_template(TEMPLATE.name)
    context = template.new_context({"rows": [row_of(result) for result in results]})
    section = "".join(template.blocks["evaluation"](context)).strip()
    card = ModelCard(text or f"---\nlibrary_name: transformers\n---\n\n# {name}\n")
    metadata = cast(ModelCardData, card.data)
    if SECTION.search(card.text):
        card.text = SECTION.sub(lambda _: section, card.text)
    else:
        card.text = f"{card.text.rstrip()}\n\n## Evaluation\n\n{section}\n"
    metadata.model_name = metadata.model_name or name
    set_results(metadata, results)
    return str(card)


def render_eval_results(results: list[dict[str, Any]]) -> str:
    """The results on datasets of the Hub, as `.eval_results/*.yaml` of a model repository; "" if there are none."""
    entries = [
        EvalResultEntry(result["dataset_id"], result["dataset"], value, notes=f"{name}, {settings_of(result)}")
        for result in results
        for name, _, value in scores_of(result)
        if result["dataset_id"]
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False) if entries else ""


def set_results(metadata: ModelCardData, results: list[dict[str, Any]]) -> None:
    """Fills `metrics` and `model-index`; other people's entries on other data stay."""
    ours = {(result["task"], result["dataset"], result["split"]) for result in results}
    others = metadata.eval_results or []
    kept = [one for one in others if (one.task_name, one.dataset_config, one.dataset_split) not in ours]
    entries = [
        EvalResult(
            task_type="puzzle-solving",
            task_name=result["task"],
            dataset_type=result["dataset_id"] or result["dataset"],
            dataset_name=f"{result['task']} {result['dataset']}",
            dataset_config=result["dataset"],
            dataset_split=result["split"],
            metric_type=kind,
            metric_name=f"{name}, {settings_of(result)}",
            metric_value=value,
        )
        for result in results
        for name, kind, value in scores_of(result)
    ]
    metadata.eval_results = [*kept, *entries] or None
    metadata.metrics = sorted({one.metric_type for one in metadata.eval_results or []}) or None


def scores_of(result: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Name, metric and value of each score of an evaluation, as far as it has them."""
    own = [name for name in result if name.startswith("pass@") or name in ("optimal_accuracy", "verified_accuracy")]
    kinds = {"exact_accuracy": "exact_match", "cell_accuracy": "accuracy"} | dict.fromkeys(own)
    return [(name, kind or name, result[name]) for name, kind in kinds.items() if name in result]


def cost_of(trained: dict[str, Any]) -> str | None:
    """What training took of its GPUs or CPU cores."""
    seconds = trained["device_seconds"]
    if seconds is None:
        return None
    return f"{seconds:,.0f} {'CPU-core' if str(trained['device']).startswith('cpu') else 'GPU'}-seconds"


def settings_of(result: dict[str, Any]) -> str:
    """What tells several evaluations of one model on the same puzzles apart."""
    threshold, judge = result["halt_threshold"], result.get("verify", False)
    words = [f"n={result['num_examples']}", f"at most {result['max_steps']} steps"]
    words += ["rules as judge" if judge else "never halting" if threshold is None else f"halting at {threshold:g}"]
    return ", ".join([*words, *attempts_of(result), f"seed {result['seed']}", result["dtype"]])


def attempts_of(result: dict[str, Any]) -> list[str]:
    """In what a puzzle's attempts went beyond a single one without noise."""
    noise, attempts = result["noise_std"], result.get("attempts")
    if attempts is None:  # a result of an earlier version
        attempts = result["num_rollouts"] * result.get("augmentations", 1)
    words = {f"{attempts} attempts": attempts > 1, f"noise {noise:g}": noise > 0}
    selection = result.get("selection")
    words |= {"most frequent answer": selection == "vote", "least moving state": selection == "residual"}
    return [word for word, applies in words.items() if applies]


def row_of(result: dict[str, Any]) -> list[str]:
    """An evaluation as cells of the table."""
    scores = []
    for name, _, value in scores_of(result):
        shown = f"{name.removesuffix('_accuracy')} {value:.1%}"
        if name == "exact_accuracy":
            low, high = result["exact_accuracy_ci95"]
            shown = f"**{shown}** ({low:.1%} – {high:.1%})"
        scores.append(shown)
    threshold = result["halt_threshold"]
    return [
        result["task"],
        result["dataset_id"] or result["dataset"],
        result["split"],
        f"{result['num_examples']:,}",
        ", ".join(scores) or "no solutions known",
        f"{result['mean_steps']:.2f} ({result['max_steps']})",
        "never" if threshold is None else f"{threshold:g}",
        ", ".join(attempts_of(result)) or "1",
        str(result["seed"]),
        f"{result['dtype']}, {result['device']}",
        (result["commit"] or UNKNOWN)[:12],
    ]


def environment() -> Environment:
    """Jinja, as the template is written: what is `None` says so, and a misspelt name is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        finalize=lambda value: UNKNOWN if value is None else value,
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
