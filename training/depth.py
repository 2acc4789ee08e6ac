# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Depth that grows over training: the first steps are cheaper, and learn what needs no depth.

CGAR (arXiv 2511.08653) trains with 1 deep and 2 latent cycles, with 2 and 4 from 30 % of training on, and with the
full 3 and 6 from 60 % on; the code of arXiv 2601.19085 tries a single supervision step at first.
"""

import re

from modeling_trm import TrmConfig

from .errors import require

DEPTH_FIELDS = ("deep_cycles", "latent_cycles", "max_supervision_steps")
EXAMPLE = "'deep_cycles=1 latent_cycles=2 until 0.3'"
STAGE = re.compile(rf"((?:(?:{'|'.join(DEPTH_FIELDS)})=[1-9]\d*\s+)+)until\s+(\d*\.?\d+)")


class DepthSchedule:
    """The depth of each step of training, as arguments of `TrmForPuzzleSolving.forward`.

    Args:
        stages: such as "deep_cycles=1 latent_cycles=2 until 0.3", in order; until that share of training the fields it
            names have its values. After the last stage, and in fields that a stage does not name, the depth is the
            configuration's.
        config: that of the model being trained.
        max_steps: steps of the whole training.

    Raises:
        UserError: a stage that cannot be read, or that ends before the stage ahead of it.
    """

    def __init__(self, stages: list[str] | None, config: TrmConfig, max_steps: int):
        self.max_steps = max_steps
        self.gradient_cycles = config.gradient_cycles
        self.full: dict[str, int] = {name: getattr(config, name) for name in DEPTH_FIELDS}
        self.stages: list[tuple[float, dict[str, int]]] = []
        before = 0.0
        for stage in stages or []:
            match = STAGE.fullmatch(stage.strip())
            require(match is not None, f"depth_schedule: {stage!r} should read like {EXAMPLE}")
            until = float(match[2])
            require(before < until <= 1, f"depth_schedule: {stage!r} must end after {before:g} and by 1")
            depth = {name: int(value) for name, value in (word.split("=") for word in match[1].split())}
            self.stages.append((until, depth))
            before = until

    def at(self, step: float) -> dict[str, int]:
        """Each of `DEPTH_FIELDS` at a step, counted from 0."""
        stage = next((depth for until, depth in self.stages if step < round(until * self.max_steps)), {})
        return self.full | stage

    def rest(self, step: float) -> list[tuple[float, int]]:
        """What is left of training at a step: how many steps of each depth, and how much work each of them is.

        The work is counted in applications of the network; the backward pass of one is as much as two.
        """
        left = []
        for until in [*(until for until, _ in self.stages), 1.0]:
            end = round(until * self.max_steps)
            if end > step:
                depth = self.at(step)
                passes = depth["deep_cycles"] + 2 * min(depth["deep_cycles"], self.gradient_cycles)
                left.append((end - step, passes * (depth["latent_cycles"] + 1)))
                step = end
        return left
