# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Writes a task's puzzles as a dataset of the Hub: parquet files and a card.

    python -m datasets_scripts.build --task sudoku --config mini-6x6 --output_dir sudoku-6x6 [--push_to_hub ORG/NAME]

`load_dataset("sudoku-6x6", "mini-6x6")` reads the folder back, also with `streaming=True`.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import datasets
from huggingface_hub import DatasetCardData, HfApi, get_token
from huggingface_hub.utils import validate_repo_id

from datasets_scripts.tasks import TASKS, PuzzleFormat, nearest


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def build(
    task: str,
    config: str | None,
    output_dir: str | Path,
    *,
    command: str,
    data_dir: str | None = None,
    seed: int = 0,
    num_train_puzzles: int | None = None,
) -> None:
    """Write a dataset folder, whole or not at all.

    Args:
        task, config: names; without a config the task's default, or with a `data_dir` the one that reads it.
        output_dir: a folder that does not exist yet, or an empty one.
        command: how to build it again, for the card.
        data_dir, seed, num_train_puzzles: as for `load_puzzles`.

    Raises:
        ValueError, OSError: for a wrong name, a bad file, or a folder that is in use; one line.
    """
    entry = TASKS[nearest(task, TASKS, "task")]
    config = config or (entry.data_dir_config if data_dir else entry.default_config)
    output_dir = Path(output_dir)
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise ValueError(f"{output_dir} is there already; name a new folder, or delete it")
    builder, described = entry.build(config, data_dir=data_dir, seed=seed, num_train_puzzles=num_train_puzzles)
    builder.download_and_prepare()
    splits = builder.as_dataset()
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=".build-") as temporary:
        folder = Path(temporary) / "dataset"
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            rows.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
        (folder / "README.md").write_text(card(task, config, splits, builder.info, described, seed, command))
        os.replace(folder, output_dir)


def card(
    task: str,
    config: str,
    splits: datasets.DatasetDict,
    info: datasets.DatasetInfo,
    described: PuzzleFormat,
    seed: int,
    command: str,
) -> str:
    """The text of README.md, its YAML header included."""
    header = DatasetCardData(
        license=info.license or "other",
        pretty_name=f"{task} {config}",
        tags=["puzzles", "reasoning", "trm", task],
        configs=[
            {
                "config_name": config,
                "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in splits],
                "default": True,
            }
        ],
    )
    processor = described.processor
    sizes = "\n".join(f"| {split} | {len(rows):,} |" for split, rows in splits.items())
    columns = "\n".join(f"| `{name}` | {kind(feature)} |" for name, feature in splits["train"].features.items())
    tokens = ", ".join(f"{token} = `{symbol}`" for token, symbol in enumerate(processor["vocabulary"]))
    return f"""---
{header.to_yaml()}
---

# {task}: {config}

{info.description}. The puzzles are not augmented.

```python
from datasets import load_dataset

puzzles = load_dataset("path/to/this", "{config}", split="train")
```

| split | puzzles |
|---|---|
{sizes}

| column | type |
|---|---|
{columns}

`input_ids` and `labels` are grids of {processor["height"]}x{processor["width"]} cells, row by row.
Their tokens are {tokens}.

## Source and licence

{info.homepage or "Own files; say here where they come from"}

Licence: {info.license or "other; say here which"}

## How it was built

By the builder `{task}`, version {info.version}, with seed {seed}:

```
{command}
```
"""


def kind(feature: datasets.features.features.FeatureType) -> str:
    """A feature's type for people."""
    if isinstance(feature, datasets.List):
        return f"{feature.length} x {kind(feature.feature)}"
    return feature.dtype


def publish(folder: str | Path, repo_id: str) -> None:
    """Upload a dataset folder to the Hub; raises `OSError` if the Hub refuses."""
    api = HfApi()
    api.create_repo(repo_id, repo_type="dataset", exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type="dataset", commit_message="Upload the dataset")


def main(command_line: list[str]) -> None:
    parser = Parser(prog="python -m datasets_scripts.build", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--task", required=True, help=", ".join(TASKS))
    parser.add_argument("--config", help="configuration of the task's dataset")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--data_dir", help="folder with your own files")
    parser.add_argument("--seed", type=int, default=0, help="of chosen and of generated puzzles")
    parser.add_argument("--num_train_puzzles", type=int, help="how many training puzzles to keep; all by default")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="dataset repository to publish to")
    args = parser.parse_args(command_line)
    if args.push_to_hub:
        validate_repo_id(args.push_to_hub)
        if get_token() is None:
            raise ValueError("publishing needs a token of the Hub: log in with `hf auth login`, or set HF_TOKEN")
    build(
        args.task,
        args.config,
        args.output_dir,
        command=shlex.join(["python", "-m", "datasets_scripts.build", *command_line]),
        data_dir=args.data_dir,
        seed=args.seed,
        num_train_puzzles=args.num_train_puzzles,
    )
    print(f"wrote {args.output_dir}")
    if args.push_to_hub:
        publish(args.output_dir, args.push_to_hub)
        print(f"published https://huggingface.co/datasets/{args.push_to_hub}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
