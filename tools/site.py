# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A hook of mkdocs.yml: the pages link to files of the repository, which are no pages of the site."""

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Links out of docs/ go to the repository, if mkdocs.yml names its `repo_url`; else their text stays."""
    return without_links_outside(markdown, config.get("repo_url"))


def without_links_outside(markdown: str, repository: str | None) -> str:
    """A page whose links to `../path` are to `repository`, or plain text."""
    return OUTSIDE.sub(rf"[\1]({repository.rstrip('/')}/blob/main/\2)" if repository else r"\1", markdown)
