# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""docs/results.yaml, and the pages that are written from it."""

from pathlib import Path

import pytest
import yaml

from tools.results import BEGIN, DATA, END, PAGE, README, page, percent, read_data, short_table, with_table
from training.arguments import UserError


def test_the_pages_are_what_the_command_writes() -> None:
    """Otherwise: python -m tools.results"""
    data = read_data(DATA)
    assert PAGE.read_text() == page(data)
    assert README.read_text() == with_table(README.read_text(), data)


def test_every_row_is_in_the_page_with_its_source() -> None:
    data, text = read_data(DATA), PAGE.read_text()
    lines = [line for line in text.splitlines() if "](https://" in line]
    assert len(lines) == len(data["rows"])
    for row in data["rows"]:
        wanted = [f"| {row['model']} |", f"| {percent(row['score'])} |", f"({data['sources'][row['source']]['url']})"]
        wanted += [f"| {data['splits'][row['split']]} |", f"| {data['metrics'][row['metric']]} |"]
        assert any(all(word in line for word in wanted) for line in lines), row


def test_public_and_semi_private_scores_share_no_column() -> None:
    """TRM on ARC-AGI-1: 44.6 in the paper, 40 by the ARC Prize."""
    head, _, *rows = short_table(read_data(DATA))
    names = [name.strip() for name in head.split("|")]
    (trm,) = [row.split("|") for row in rows if row.startswith("| TRM-Att |")]
    place = names.index("ARC-AGI-1, public")
    assert trm[place].strip() == "44.6"
    assert names[place + 1] == "semi-private"
    assert trm[place + 1].strip() == "40.0 ($1.76)"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"source": None}, "row 1 (TRM-MLP): source missing"),
        ({"split": "guess"}, "split 'guess' is not one of splits"),
        ({"score": 0.874e3}, "score 874.0 is no percentage"),
        ({"scor": 1.0}, "unknown field scor"),
    ],
)
def test_a_row_that_lacks_something_is_refused(change: dict, named: str, tmp_path: Path) -> None:
    data = yaml.safe_load(DATA.read_text())
    row = data["rows"][0] | change
    data["rows"][0] = {name: value for name, value in row.items() if value is not None}
    (tmp_path / "results.yaml").write_text(yaml.safe_dump(data, allow_unicode=True))
    with pytest.raises(UserError) as error:
        read_data(tmp_path / "results.yaml")
    assert named in str(error.value)


def test_a_readme_without_marks_is_not_written() -> None:
    with pytest.raises(UserError, match="lacks the marks"):
        with_table(f"{BEGIN} and no end", read_data(DATA))
    assert END in README.read_text()
