"""A document's Markdown as one HTML page, and that as a PDF. Nothing is fetched from anywhere."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

__all__ = ["Fetched", "page", "pdf"]

_STYLE = Path(__file__).parent / "templates" / "style.css"
_NOTE = re.compile(r"\[\^([a-z][a-z0-9-]*)\]")
"""A footnote's mark. One that people wrote is escaped, and so never read as one."""
_DEFINED = re.compile(r"^\[\^([a-z][a-z0-9-]*)\]: (.*)$", re.MULTILINE)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Fetched(Exception):
    """Something in a page asked for something outside of it."""


def page(text: str, title: str) -> str:
    """``text``, Markdown of ours, as an HTML page that stands by itself.

    HTML in it stays text, and there are no links but those to its own footnotes: what people wrote cannot lead anywhere.
    """
    body, notes = _parted(text)
    reader = _reader()
    listed = "".join(f'<li id="{key}"><code class="key">{key}</code> {reader.renderInline(told)}</li>\n' for key, told in notes)
    rendered = _wrapped(reader.render(body))
    ending = f'<section class="sources"><ul>\n{listed}</ul></section>' if listed else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{rendered}{ending}\n</main>\n</body>\n</html>\n"
    )


def pdf(markup: str) -> tuple[bytes, int]:
    """The page as a PDF, and its number of pages. Raises Fetched when anything in it is not in it."""
    # Takes 0.4 s, which Markdown alone need not wait for.
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    wanted: list[str] = []

    class Refusing(URLFetcher):  # type: ignore[misc]  # the library has no types
        """Asked for anything, it opens nothing."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            wanted.append(url)
            raise ValueError("a document fetches nothing")

        open = fetch

    document = HTML(string=markup, url_fetcher=Refusing(), base_url=None).render()
    if wanted:
        raise Fetched(f"the page asked for {wanted[0]}, and a document fetches nothing")
    return bytes(document.write_pdf()), len(document.pages)


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False}).enable("table")
    reader.disable(["link", "image", "autolink", "html_inline", "html_block", "reference"])
    reader.inline.ruler.before("link", "mark", _mark)
    reader.add_render_rule("mark", _mark_shown)
    return reader


def _mark(state: StateInline, silent: bool) -> bool:
    found = _NOTE.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("mark", "", 0).content = found[1]
    state.pos = found.end()
    return True


def _mark_shown(self: Any, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
    key = tokens[number].content
    return f'<sup><a href="#{key}">{key}</a></sup>'


def _parted(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text without the definitions of its footnotes, and these."""
    return _DEFINED.sub("", text), _DEFINED.findall(text)


def _wrapped(rendered: str) -> str:
    """Each table in a box of its own, which scrolls on a narrow screen, also by keyboard; its name is its number."""
    number = count(1)
    box = '<div class="wide" tabindex="0" role="region" aria-label="table {}"><table>'
    return re.sub("<table>", lambda _: box.format(next(number)), rendered).replace("</table>", "</table></div>")
