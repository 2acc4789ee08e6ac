# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Publishes a trained or converted model:  python -m training.publishing --model DIR --push_to_hub ORG/NAME"""

from dataclasses import dataclass, field
from pathlib import Path

from modeling_trm.loading import read_object

from ..arguments import HubArguments, option, parse_arguments
from ..errors import require, run_command, user_errors
from ..evaluation.results import read_results, weights_of
from ..storage import write_json
from .cards import RESULTS, TRAIN_ARGS
from .publish import WEIGHTS, open_repository, publish_final


@dataclass
class PublishArguments:
    """A folder to publish."""

    model: str = field(metadata={"help": "folder of a trained or converted model"})
    hub_private: bool = option(False, "publish for your organisation only")
    hub_license: str | None = option(None, "licence of the model as the Hub names it, such as mit")


def main(command_line: list[str]) -> None:
    args, hub = parse_arguments([PublishArguments, HubArguments], command_line)
    folder = Path(args.model)
    require(hub.push_to_hub is not None, "--push_to_hub ORG/NAME says where to publish")
    require((folder / WEIGHTS).is_file(), f"{folder} is no folder of a model: it has no {WEIGHTS}")
    for result in read_results(folder / RESULTS):
        require(result["weights"] == weights_of(folder), f"{folder / RESULTS} is of other weights: evaluate again")
    if args.hub_license is not None:
        path = folder / TRAIN_ARGS
        with user_errors("", ValueError, OSError):
            record = read_object(path) if path.exists() else {}
        write_json(record | {"license": args.hub_license}, path)
    repository = open_repository(hub, args.hub_private, print)
    print(publish_final(repository, folder, args.hub_private))


if __name__ == "__main__":
    run_command(main)
