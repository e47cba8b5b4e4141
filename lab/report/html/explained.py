"""The pages of the finding ids as HTML, from the Markdown that `lab explain` prints."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup

from lab.model import Finding
from lab.report import explain
from lab.report.plain import plain


@cache
def explanation(finding_id: str) -> Markup:
    """Return the page of a finding id. Tags in it are shown as text: pages of other people's checks are strangers' words.

    Raises UsageError if there is no such page.
    """
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(plain(explain.page(finding_id))))


@cache
def known() -> frozenset[str]:
    """Return the ids that have a page."""
    return frozenset(explain.ids())


def links(finding_ids: Iterable[str], pattern: str) -> dict[str, str]:
    """Return id -> link of those that have a page. pattern: with one {}."""
    return {one: pattern.format(one) for one in dict.fromkeys(finding_ids) if one in known()}


def ids_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return the ids of findings and of what is joined to them, each once."""
    return tuple(dict.fromkeys(identity for finding in findings for identity in finding.ids()))
