# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The fields of a recipe, and how a YAML file and the command line fill them."""

import difflib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, make_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser

from datasets_scripts.tasks import PuzzleFormat
from modeling_trm import TrmConfig

from .errors import UserError, require, user_errors


def option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


LIMITS = {  # beyond reason: what memory or a number's 64 bits would end with a traceback
    "max_steps": 10**12,
    "batch_size": 10**6,
    "eval_batch_size": 10**6,
    "num_augmentations": 10**6,
    "save_steps": 10**12,
    "log_steps": 10**12,
    "checkpoint_total_limit": 10**6,
    "warmup_steps": 10**12,
}


@dataclass
class TrainArguments:
    """Fields of a training recipe beside the model's own (see [`TrmConfig`])."""

    task: str = option("sudoku", "task of datasets_scripts.tasks")
    dataset_config: str = option("hard-sample", "configuration of the task's dataset")
    data_dir: str | None = option(None, "folder with the task's files, instead of the Hub's")
    num_train_puzzles: int | None = option(
        0, "how many of the training puzzles, or all of them; when not given (0) 1000, or all of one's own grids"
    )
    num_augmentations: int = option(1000, "the most puzzles made of each ARC task, each with its own embedding")
    data_seed: int = option(0, "seed of the choice of training puzzles and of puzzles that are generated")
    augment: bool | None = option(
        None, "draw a random symmetry of every puzzle each time it is seen; when not given, where the task gains by it"
    )
    repose: bool = option(
        False, "before every step move the puzzles in work, with their states, by a random symmetry of the cells"
    )
    output_dir: str = option("runs/trm", "folder of the model, its checkpoints and its log")
    overwrite: bool = option(False, "start anew in an output_dir that holds a model, but no checkpoint to go on from")
    seed: int = option(0, "seed of initialisation, order, augmentation and exploration")
    init_from: str | None = option(None, "folder or Hub repository of a trained model to start from")
    freeze_network: bool = option(False, "learn only the embeddings of puzzles that --init_from has not seen")

    max_steps: int = option(1000, "supervision steps, each with one optimizer step")
    batch_size: int = option(768, "puzzles per step, over all processes")
    optimizer: Literal["adam_atan2", "adamw"] = option("adam_atan2", "optimizer of the dense parameters")
    learning_rate: float = option(1e-4, "peak learning rate")
    weight_decay: float = option(1.0, "decoupled weight decay")
    adam_beta1: float = option(0.9, "decay of the first moment")
    adam_beta2: float = option(0.95, "decay of the second moment")
    atan2_rule: Literal["official", "published"] = option("official", "formula of adam_atan2")
    use_muon: bool = option(False, "Muon for the matrices of the network, `optimizer` for the rest")
    muon_learning_rate: float = option(0.02, "peak learning rate of Muon")
    muon_weight_decay: float = option(0.005, "decoupled weight decay of Muon")
    muon_momentum: float = option(0.95, "Nesterov momentum of Muon")
    muon_ns_steps: int = option(5, "Newton-Schulz iterations of Muon")
    puzzle_embedding_learning_rate: float = option(1e-4, "learning rate of the sign-SGD for puzzle embeddings")
    puzzle_embedding_weight_decay: float = option(1.0, "weight decay of the sign-SGD for puzzle embeddings")
    depth_schedule: list[str] | None = field(
        default=None,
        metadata={"help": "stages of less depth before the full one: 'deep_cycles=1 latent_cycles=2 until 0.3', ..."},
    )
    warmup_steps: int = option(0, "steps of linear warm-up")
    min_learning_rate_ratio: float = option(
        1.0, "where the cosine ends: 1 is a constant learning rate, 0 goes to zero"
    )
    max_grad_norm: float | None = option(None, "clip the gradient's norm (puzzle embeddings not counted)")
    ema_decay: float = option(0.999, "decay of the average of the weights, which is what gets evaluated and published")
    ema_warmup: bool = option(False, "average over a shorter past while training is young")
    max_skipped_steps: int = option(10, "give up after so many steps in a row with a loss or gradient not finite")
    mixed_precision: Literal["no", "bf16"] = option("bf16", "compute dtype; weights stay float32")
    weights_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "dtype of the weights that are written for use, and evaluated last; those in training are float32"
    )
    compile: Literal["none", "network", "step"] = option(
        "none", "compile the network, or on a GPU all of a step, which takes minutes, and again for each depth"
    )
    activation_checkpointing: bool = option(False, "less memory, more time: the backward pass computes layers anew")

    eval_steps: int | None = option(None, "evaluate every so many steps (and at the end)")
    eval_examples: int | None = option(None, "test puzzles of those evaluations; the last one uses all")
    eval_halt_threshold: float | None = option(
        None, "halting logit above which evaluations stop a puzzle; the model's own when not given, inf never stops"
    )
    eval_batch_size: int = option(500, "puzzles per batch in evaluation, per process")
    num_test_puzzles: int | None = option(None, "only the first puzzles of the test split, in all evaluations")
    num_votes: int | None = option(None, "augmentations of each ARC test that vote; all when not given")
    save_steps: int = option(1000, "write a checkpoint every so many steps (and at the end)")
    checkpoint_total_limit: int = option(2, "checkpoints kept")
    resume_anyway: bool = option(False, "go on from a checkpoint of another model, data or batch size than now")
    log_steps: int = option(50, "steps per line of train_log.jsonl")
    finish_minutes: float | None = option(
        None, "rate and depth follow the clock, not the steps: training ends, decayed, so long after its start"
    )
    time_limit_minutes: float | None = option(None, "stop with a checkpoint after this long; the same command goes on")
    hub_strategy: Literal["end", "every_save"] = option(
        "end", "when --push_to_hub publishes; every_save does so with each checkpoint too, in the background"
    )
    hub_private: bool = option(False, "publish for your organisation only")
    hub_dataset: str | None = option(None, "dataset repository that holds the puzzles, if the task does not know one")
    hub_license: str | None = option(
        None, "licence of the model as the Hub names it, such as mit; none when not given"
    )
    report_to: Literal["none", "trackio", "tensorboard", "wandb"] = option("none", "experiment tracker")

    def __post_init__(self) -> None:
        require_repository("hub_dataset", self.hub_dataset)
        if self.num_train_puzzles == 0:
            self.num_train_puzzles = None if self.task in ("grid", "arc-agi") else 1000
        require(
            self.task != "arc-agi" or self.num_train_puzzles is None,
            f"num_train_puzzles={self.num_train_puzzles}: all tasks of ARC are used, leave it out",
        )
        for name, limit in LIMITS.items():
            require(abs(getattr(self, name)) <= limit, f"{name}={getattr(self, name)} must be at most {limit:,}")
        for name in (
            "max_steps",
            "batch_size",
            "eval_batch_size",
            "save_steps",
            "checkpoint_total_limit",
            "log_steps",
            "max_skipped_steps",
        ):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)} must be at least 1")
        for name in (
            "eval_steps",
            "eval_examples",
            "num_train_puzzles",
            "num_test_puzzles",
            "num_votes",
        ):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name}={value} must be at least 1")
        for name in ("adam_beta1", "adam_beta2", "muon_momentum"):
            require(0 <= getattr(self, name) < 1, f"{name}={getattr(self, name)} must be at least 0 and below 1")
        for name in ("max_grad_norm", "finish_minutes", "time_limit_minutes"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name}={value} must be positive")
        require(1 <= self.muon_ns_steps < 100, f"muon_ns_steps={self.muon_ns_steps} must be from 1 to 99")
        require(
            self.report_to == "none" or find_spec(self.report_to) is not None,
            f"report_to={self.report_to} needs that package: pip install {self.report_to}",
        )
        require(self.output_dir.strip() != "", "output_dir is empty: name a folder")
        require(not Path(self.output_dir).is_file(), f"output_dir={self.output_dir} is a file: name a folder")
        for name in ("ema_decay", "min_learning_rate_ratio"):
            require(0 <= getattr(self, name) <= 1, f"{name}={getattr(self, name)} must be between 0 and 1")
        for name in (
            "learning_rate",
            "muon_learning_rate",
            "weight_decay",
            "muon_weight_decay",
            "puzzle_embedding_learning_rate",
            "puzzle_embedding_weight_decay",
            "warmup_steps",
            "num_augmentations",
        ):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"{name}={value} must be a number of at least 0")
        threshold = self.eval_halt_threshold
        require(threshold is None or threshold == threshold, f"eval_halt_threshold={threshold} must be a number")
        require(
            not self.freeze_network or self.init_from is not None,
            "freeze_network=true needs --init_from, a trained model",
        )


@dataclass
class HubArguments:
    """Where on the Hub to publish."""

    push_to_hub: str | None = option(None, "repository to publish to, as ORG/NAME")
    hub_revision: str = option("main", "branch to publish on")

    def __post_init__(self) -> None:
        require_repository("push_to_hub", self.push_to_hub)


@dataclass
class EvalArguments:
    """Fields of an evaluation."""

    model: str = field(metadata={"help": "folder or Hub repository of the model"})
    revision: str | None = option(None, "branch, tag or commit of a Hub repository")
    task: str = option("sudoku", "task of datasets_scripts.tasks")
    dataset_config: str | None = option(None, "configuration of the task's dataset (with --data_dir: its files)")
    data_dir: str | None = option(None, "folder with the task's files")
    split: str = option("test", "split of the dataset")
    max_examples: int | None = option(None, "only the first puzzles of the split")
    num_augmentations: int = option(1000, "the most puzzles made of each ARC task: what the model was trained with")
    num_votes: int | None = option(None, "augmentations of each ARC test that vote; all when not given")
    submission: str = option("submission.json", "file for the two attempts at each ARC test, as Kaggle wants it")
    output: str | None = option(None, "file for the result as JSON")
    batch_size: int = option(500, "puzzles per batch")
    max_steps: int | None = option(None, "the most supervision steps; the model's own when not given")
    halt_threshold: float | None = option(None, "halting logit above which a puzzle is done; inf never stops early")
    min_steps: int = option(1, "the fewest supervision steps")
    attempts: int = option(1, "the most attempts per puzzle, at symmetric views: 1, 4, 16, ... until one is confident")
    noise_std: float = option(0.0, "deviation of noise on the states of attempts")
    selection: Literal["best", "vote", "residual"] = option(
        "best", "the attempt that counts: the most confident, the most frequent answer, or the state that moves least"
    )
    verify: bool = option(False, "let the task's checker decide which attempts are done; adds verified_accuracy")
    sweep: str | None = option(None, "a curve, such as attempts=1,4,16: a JSON list in --output and a plot beside it")
    hub_dataset: str | None = option(None, "dataset repository that holds the puzzles, if the task does not know one")
    dtype: Literal["float32", "bfloat16"] = option("float32", "dtype of the weights and the computation")
    compile: bool = option(False, "compile the network, which pays from some thousand puzzles on")
    seed: int = option(0, "seed of views, random states and noise")
    data_seed: int = option(0, "seed of puzzles that are generated")

    def __post_init__(self) -> None:
        require_repository("hub_dataset", self.hub_dataset)
        for name in ("batch_size", "max_examples", "max_steps", "attempts", "num_votes"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name}={value} must be at least 1")
        for name in ("num_augmentations", "noise_std"):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)} must not be negative")


def require_repository(name: str, value: str | None) -> None:
    fits = value is None or re.fullmatch(r"[\w.-]+/[\w.-]+", value) is not None
    require(fits, f"{name}={value} should read like ORG/NAME")


GIVEN_BY_TASK = ("vocab_size", "seq_len", "grid_width", "answer_token_ids", "num_puzzles")


def model_arguments() -> type:
    """A dataclass of [`TrmConfig`]'s own fields, without those that the task gives."""
    columns = []
    for name, hint in TrmConfig.__annotations__.items():
        if name not in GIVEN_BY_TASK:
            kind = float if hint == float | int else hint
            columns.append((name, kind, option(getattr(TrmConfig, name), "see TrmConfig")))
    return make_dataclass("ModelArguments", columns)


class Parser(HfArgumentParser):
    """HfArgumentParser whose errors are a `UserError` in place of the usage and an exit."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def parse_arguments(dataclass_types: list[type], command_line: list[str]) -> tuple[Any, ...]:
    """Fills dataclasses from `--config FILE.yaml` (optional) and from `--field value` pairs, which win over the file.

    Raises:
        UserError: the file cannot be read, a field is unknown (the nearest name is suggested), or a value is wrong.
    """
    parser = Parser(dataclass_types, allow_abbrev=False, conflict_handler="resolve")
    parser.add_argument("--config", help="YAML file of these fields")
    known = {action.dest for action in parser._actions}
    config, _ = config_parser().parse_known_args(command_line)
    recipe = read_recipe(config.config) if config.config else {}
    for name in recipe:
        require(name in known, f"{config.config}: unknown field {name!r}{suggestion(str(name), known)}")
    may_be_none = set()
    for action in parser._actions:
        if action.type in (int, float):
            may_be_none |= {action.dest} if action.default is None or action.dest == "num_train_puzzles" else set()
            action.type = number(action.type, action.dest in may_be_none)
    recipe |= {name: "null" for name in may_be_none & recipe.keys() if recipe[name] is None}
    words = with_negative_numbers([*as_flags(recipe), *command_line])
    *parsed, unknown = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        name = unknown[0].removeprefix("--").split("=")[0]
        raise UserError(f"unknown argument {unknown[0]!r}{suggestion(name, known)}")
    return tuple(parsed[: len(dataclass_types)])


def config_parser() -> Parser:
    parser = Parser([], allow_abbrev=False, add_help=False)
    parser.add_argument("--config")
    return parser


def read_recipe(path: str | Path, derived: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fields of a YAML file, on top of those of the file that its `base` names, relative to itself, if it has one.

    Raises:
        UserError: a file cannot be read, is no recipe, or is its own base.
    """
    require(Path(path).resolve() not in derived, f"{path} is its own base")
    require(not Path(path).exists() or Path(path).is_file(), f"{path} is no file")
    try:
        recipe = yaml.load(Path(path).read_text(encoding="utf-8"), RecipeLoader)
    except OSError as error:
        raise UserError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise UserError(f"{path} holds no fields; it should read like 'max_steps: 1000'")
    for name, value in recipe.items():
        items = value if isinstance(value, list) else [value]
        is_plain = isinstance(name, str) and not any(isinstance(item, (list, dict, set)) for item in items)
        require(is_plain, f"{path}: the field {name!r:.40} holds neither a value nor a list of values")
    base = recipe.pop("base", None)
    if base is None:
        return recipe
    return read_recipe(Path(path).parent / str(base), (*derived, Path(path).resolve())) | recipe


def as_flags(recipe: dict[str, Any]) -> list[str]:
    """A recipe as command-line words; a field set to null keeps its default, as leaving it out does."""
    words = []
    for name, value in recipe.items():
        if value is not None:
            words += [f"--{name}", *(str(item) for item in (value if isinstance(value, list) else [value]))]
    return words


class RecipeLoader(yaml.SafeLoader):
    """YAML in which only `true` and `false` are booleans and dates are text: `mixed_precision: no` is the word."""


RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, words) for tag, words in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)$"), list("tTfF"))


def number(kind: type, may_be_none: bool) -> Callable[[str], int | float | None]:
    """Reads a number as Python and YAML write it, `1_000`, `1e3`, `-.inf`, and with `may_be_none` also `null`."""

    def read(text: str) -> int | float | None:
        word = text.strip().lower()
        if may_be_none and word in ("null", "none", "~", "all"):
            return None
        if re.fullmatch(r"[+-]?\.(inf|nan)", word):
            word = word.replace(".", "")
        value = int(word) if kind is int and re.fullmatch(r"[+-]?[\d_]+", word) else float(word)
        if kind is int and not (float(value).is_integer() and abs(value) < 2**63):
            raise ValueError
        return kind(value)

    read.__name__ = kind.__name__  # argparse shows it
    return read


def with_negative_numbers(words: list[str]) -> list[str]:
    """`--name -1e-3` as `--name=-1e-3`: argparse takes such a number for the name of another field."""
    joined: list[str] = []
    for word in words:
        follows_name = bool(joined) and joined[-1].startswith("--") and "=" not in joined[-1]
        if follows_name and re.fullmatch(r"-(\d|\.\d|\.?inf|\.?nan).*", word, re.IGNORECASE):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def suggestion(name: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def build_config(model_args: Any, **given_by_task: Any) -> TrmConfig:
    """The model's configuration; a `UserError` when its fields contradict each other."""
    try:
        return TrmConfig(**asdict(model_args), **given_by_task)
    except StrictDataclassError as error:
        raise UserError(str(error.__cause__ or error)) from None


def build_config_of(model_args: Any, puzzle_format: PuzzleFormat, num_puzzles: int) -> TrmConfig:
    """The configuration of a model for puzzles of a format.

    Raises:
        UserError: the fields contradict each other or the puzzles.
    """
    height, width = puzzle_format.processor["height"], puzzle_format.processor["width"]
    config = build_config(
        model_args,
        vocab_size=len(puzzle_format.processor["vocabulary"]),
        seq_len=height * width,
        grid_width=width if model_args.position_embedding_type == "rope_2d" else None,
        answer_token_ids=puzzle_format.answer_tokens,
        num_puzzles=num_puzzles,
    )
    with user_errors("", ValueError):
        puzzle_format.check_symbols(config.num_symbols)
    require(
        config.num_puzzle_tokens > 0 or config.num_puzzles == 1,
        "the puzzles have ids, but the model has no puzzle embeddings: set num_puzzle_tokens, puzzle_embedding_size",
    )
    return config
