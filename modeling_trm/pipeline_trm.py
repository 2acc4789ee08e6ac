# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("puzzle-solving", model=...)`: puzzles as people write them in, answers and the steps towards them out."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Pipeline

from .formats_trm import as_lists
from .rendering_trm import changed_cells
from .saving_trm import SavingMixin


class PuzzleSolvingPipeline(SavingMixin, Pipeline):
    """Solves one puzzle or several, in any form the processor reads.

        solve = pipeline("puzzle-solving", model="runs/sudoku_easy")
        solve("53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79")

    Options, of the pipeline or of a call, are those of `TrmForPuzzleSolving.solve`, such as `max_steps`, `attempts`,
    `return_steps`, or `batch_size` for the puzzles worked on at a time. For puzzles with a rule (Sudoku, mazes)
    attempts are made at symmetric views of the puzzle, and `verify=True` lets the rule decide which of them are done.
    Models of several puzzles need `puzzle_ids`: the name of all the puzzles' id, as in the data that the model was
    trained on, a list with the name of each, or an integer tensor with the row of each in the puzzle embeddings.

    Each puzzle gives a dictionary:
        puzzle, grid: the question and the answer as rows of symbols.
        answer: the answer as one string.
        solved: with `verify` whether the answer is verified; without, whether the model believes it (halting logit
            above the threshold) and it breaks no rule of the puzzle.
        confidence: its probability of being right, as the model sees it.
        steps, attempts: supervision steps of the chosen attempt; attempts made.
        verified: whether the answer keeps the rules of the puzzle, for puzzles that have them.
        trace: for each step `grid`, `confidence` and `changed`, the [row, column] of every cell
            of `grid` that changed (with `return_steps`); `processor.render(result, "gif")` draws it.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __call__(self, puzzles: Any, **options: Any) -> Any:
        """One dictionary for one puzzle, a list of them for several, which are solved together.

        A generator, a `torch.utils.data.Dataset` or a streamed data set gives an iterator of dictionaries: it is read
        as it is solved, and `puzzle_ids` are those of all its puzzles, in their order.

        Raises:
            ValueError: what is not a puzzle for this model, or a wrong option.
        """
        batch_size = {} if self._batch_size is None else {"batch_size": self._batch_size}  # as given to `pipeline`
        options = self._forward_params | batch_size | options
        if isinstance(puzzles, (Iterator, Dataset)):
            return self.stream(puzzles, **options)
        puzzles = as_lists(puzzles)
        if isinstance(puzzles, list) and puzzles and isinstance(puzzles[0], Mapping):  # ARC tasks, even if it is one
            puzzles = self.processor.split(puzzles)
        results = self.run_single(puzzles, {}, options, {})
        return results if len(results) > 1 or self.processor.split(puzzles) == puzzles else results[0]

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> None:
        """Saves model, processor and all code: `pipeline` needs nothing but the folder."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        return {}, options, {}

    def preprocess(self, puzzles: Any) -> dict[str, Tensor]:
        return {"input_ids": self.processor(puzzles)["input_ids"]}

    def stream(
        self, puzzles: Any, puzzle_ids: Any = None, batch_size: int = 256, **options: Any
    ) -> Iterator[dict[str, Any]]:
        """The results of puzzles in their order, read as they are solved."""
        asked: deque[Tensor] = deque()
        is_one_for_all = puzzle_ids is None or isinstance(puzzle_ids, str)
        if not is_one_for_all:
            puzzle_ids = self.puzzle_rows(puzzle_ids, len(puzzle_ids))

        def batch(rows: list[list[int]]) -> tuple[Tensor, Tensor | None]:
            nonlocal puzzle_ids
            asked.append(torch.tensor(rows))
            if is_one_for_all:
                return asked[-1], self.puzzle_rows(puzzle_ids, len(rows))
            ids, puzzle_ids = puzzle_ids[: len(rows)], puzzle_ids[len(rows) :]
            return asked[-1], ids

        def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
            rows: list[list[int]] = []
            for number, given in enumerate(puzzles, start=1):
                rows += [self.processor.encode(puzzle, f"puzzle {number}") for puzzle in self.processor.split(given)]
                if len(rows) >= batch_size:
                    yield batch(rows)
                    rows = []
            if rows:
                yield batch(rows)
            if not is_one_for_all and len(puzzle_ids):
                raise ValueError(f"puzzle_ids has {len(puzzle_ids)} ids more than there are puzzles")

        for solution in self.model.solve_dataset(batches(), batch_size=batch_size, **self.solve_options(**options)):
            yield from self.postprocess({"input_ids": asked.popleft(), "solution": solution})

    def solve_options(self, verify: bool | Callable = False, **options: Any) -> dict[str, Any]:
        """The options of a call as those of `solve`, with what the processor knows of its puzzles."""
        processor = self.processor
        if verify is True and processor.verifier is None:
            raise ValueError("these puzzles have no rule of their own, which verify=True needs")
        symmetries = {name: getattr(processor, name) for name in ("random_symmetry", "num_symmetries")}
        return symmetries | options | {"verify": processor.verifier if verify is True else verify or None}

    def puzzle_rows(self, puzzle_ids: Any, count: int) -> Tensor | None:
        """`puzzle_ids` of a call, for `count` puzzles, as `solve` takes them."""
        if isinstance(puzzle_ids, Tensor):
            return puzzle_ids
        names = [puzzle_ids] * count if puzzle_ids is None or isinstance(puzzle_ids, str) else list(puzzle_ids)
        rows = [self.processor.puzzle_row(name) for name in names]
        return None if None in rows else torch.tensor(rows)

    def _forward(self, inputs: dict[str, Tensor], puzzle_ids: Any = None, **options: Any) -> dict[str, Any]:
        rows = self.puzzle_rows(puzzle_ids, len(inputs["input_ids"]))
        return inputs | {"solution": self.model.solve(inputs["input_ids"], rows, **self.solve_options(**options))}

    def postprocess(self, outputs: dict[str, Any]) -> list[dict[str, Any]]:
        solution = outputs["solution"]
        return [self.describe(question, solution, row) for row, question in enumerate(outputs["input_ids"])]

    def describe(self, question: Tensor, solution: Any, row: int) -> dict[str, Any]:
        """The result of one puzzle in plain Python values."""
        answer, steps = solution["answers"][row], int(solution["steps"][row])
        rule = self.processor.verifier
        if "verified" in solution:
            verified = solved = bool(solution["verified"][row])
        else:
            verified = bool(rule(question[None], answer[None])) if rule else None
            solved = bool(solution["halted"][row]) and verified is not False
        result = {
            "puzzle": self.processor.to_grid(question),
            "answer": self.processor.decode(answer),
            "grid": self.processor.to_grid(answer),
            "solved": solved,
            "confidence": solution["halt_logits"][row].sigmoid().item(),
            "steps": steps,
            "attempts": int(solution["attempts"][row]),
        }
        if verified is not None:
            result["verified"] = verified
        if "step_answers" in solution:
            answers, logits = solution["step_answers"][row, :steps], solution["step_halt_logits"][row, :steps]
            result["trace"], previous = [], result["puzzle"]
            for tokens, logit in zip(answers, logits, strict=True):
                grid = self.processor.to_grid(tokens)
                step = {"grid": grid, "confidence": logit.sigmoid().item(), "changed": changed_cells(grid, previous)}
                result["trace"].append(step)
                previous = grid
        return result


__all__ = ["PuzzleSolvingPipeline"]
