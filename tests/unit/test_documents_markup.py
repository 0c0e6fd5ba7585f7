"""What hosts and people wrote stays text in Markdown, in HTML and in PDF; a document fetches nothing; a figure names its source."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from golive.documents import KINDS, Facts, Figure, Sources, markdown, page, pdf, written
from golive.documents.document import _put
from golive.documents.markup import code, escaped, flat, quoted
from golive.documents.page import Fetched
from golive.errors import BadInput
from tests.support.documents import cells, page_of, plain

EVIL = (
    '<script>alert(1)</script> | ](http://evil.example) `x` "',
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<http://evil.example>",
    "https://evil.example/a?b=c www.evil.example someone@evil.example",
    "[^j1] [^j1]: not a source",
    "# heading",
    "- list",
    "1. list",
    "1) list",
    "+ list",
    "> quote",
    "---",
    "===",
    "| a | b |",
    "&lt;b&gt; &#60;script&#62;",
    "a\nb\n\n# c",
    "`code` ``more`` ```",
    "*bold* _it_ ~~gone~~ **x**",
    "trailing \\",
    "{{ 7 * 7 }} {% raw %}",
    "$$x$$ <!-- c --> <![CDATA[ ]]>",
)
_OURS = {"html", "head", "meta", "title", "style", "body", "main", "p", "code", "h2", "ul", "li", "strong", "blockquote", "br"}
_OURS |= {"div", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("text", EVIL)
def test_text_in_a_paragraph_a_cell_a_list_a_heading_and_a_quotation_stays_text(text: str) -> None:
    one = escaped(text)
    source = f"{one}\n\n| a | b |\n|---|---|\n| {one} | end |\n\n- {one}\n\n## {one}\n\n{quoted(text)}\n\n| a |\n|---|\n| {code(text)} |\n"
    read = page_of(page(source, text))
    assert set(read.tags) <= _OURS and "h1" not in read.tags and read.tags.count("h2") == 1 and read.tags.count("ul") == 1
    assert read.addresses == [] and read.handlers == []
    assert read.tags.count("td") == 3 and read.tags.count("tr") == 4
    shown = " ".join(flat(text).split())
    assert " ".join(read.text.split()).count(shown) >= 4
    assert plain(cells(f"| {one} | end |")[0]).replace("`", "") == shown.replace("`", "").replace("*", "") or "*" in shown or "`" in shown


def test_a_cell_with_bars_keeps_its_row() -> None:
    assert len(cells(f"| {escaped('a | b || c')} | {code('d | e')} | f |")) == 3


def test_what_turns_text_round_or_hides_in_it_is_seen() -> None:
    assert flat("a\u202eb\u200bc\x07d\x1b[31m") == "a\ufffdb\ufffdc\ufffdd\ufffd[31m"
    assert "\n" not in flat("a\r\nb\u2028c\u2029d\x0be\x0cf")


def test_a_long_quotation_says_that_it_is_cut() -> None:
    assert "(5 more lines are in the file.)" in quoted("\n".join(["line"] * 25), most=20)


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (Figure(None), "no data"),
        (Figure(float("nan"), ("f1",), "s"), "no data"),
        (Figure(0.091, ("f1",), "s"), "0.091 s"),
        (Figure(16.24, ("f1",), "s"), "16.2 s"),
        (Figure(600, ("f1",), "s"), "10 min"),
        (Figure(0.000417, ("f1",), "share"), "0.0417 %"),
        (Figure(1.0094, ("f1",), "ratio"), "+0.94 %"),
        (Figure(54382, ("f1",), "count"), "54,382"),
        (Figure("2026-12-03T06:50:07.4+00:00", ("f1",), "time"), "2026-12-03 06:50:07"),
        (Figure("2026-12-03T06:50:07+02:00", ("f1",), "time"), "2026-12-03 04:50:07"),
        (Figure("not a time", ("f1",), "time"), "not a time"),
        (Figure(True, ("f1",)), "True"),
    ],
)
def test_a_figure_is_written_in_its_unit_and_nothing_as_no_data(figure: Figure, shown: str) -> None:
    assert figure.text == shown


def test_a_figure_from_nowhere_and_one_from_an_unknown_source_are_no_document() -> None:
    sources = Sources()
    key = sources.add_file("policies/lab.yaml", b"x")
    assert _put(Figure(3, (key,), "count"), sources) == "3[^f1]"
    with pytest.raises(ValueError, match="from nowhere"):
        _put(Figure(3, (), "count"), sources)
    with pytest.raises(KeyError, match="j9"):
        _put(Figure(3, ("j9",), "count"), sources)
    assert [key for key, *_ in sources.cited()] == ["f1"]


def test_a_mark_leads_to_where_its_source_is_told() -> None:
    read = page_of(page("A 3[^j7] here, and \\[^j8\\] there.\n\n[^j7]: journal record 7, `gate`, SHA-256 `ab`\n", "t"))
    assert read.addresses == ["#j7"] and read.ids == ["j7"]
    assert "[^j8]" in read.text and "journal record 7" in read.text


def test_a_page_stands_by_itself_and_forbids_everything_from_outside() -> None:
    markup = page("# A\n", 'a <b> & "c"')
    assert "default-src 'none'" in markup and "<title>a &lt;b&gt; &amp; &quot;c&quot;</title>" in markup
    assert "url(" not in markup and "@import" not in markup and "prefers-color-scheme: dark" in markup and "@media print" in markup


def test_a_pdf_has_the_pages_that_were_laid_out() -> None:
    short, one = pdf(page("# A\n\nfew words\n", "A"))
    long, many = pdf(page("# A\n\n" + "\n\n".join(f"paragraph {n}" for n in range(300)), "A"))
    assert short.startswith(b"%PDF-") and short.rstrip().endswith(b"%%EOF") and one == 1
    assert many > 3 and len(long) > len(short)


def test_nothing_is_fetched_for_a_pdf_and_what_asks_for_it_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Fetched, match=f"127.0.0.1:{port}"):
            pdf(f'<html><body><img src="http://127.0.0.1:{port}/x.png"><p>a</p></body></html>')
        with pytest.raises(Fetched):
            pdf('<html><head><style>@import url("file:///etc/passwd");</style></head><body><p>a</p></body></html>')
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody connected: a connection would wait in the listener's queue
            listener.accept()


def test_files_are_written_all_or_none(tmp_path) -> None:
    first, second = tmp_path / "a" / "one.md", tmp_path / "a" / "two.md"
    written({first: b"old", second: b"old"})
    second.unlink()
    second.mkdir()
    with pytest.raises(BadInput, match=r"two\.md.*No document was changed"):
        written({first: b"new", second: b"new"})
    assert first.read_bytes() == b"old" and sorted(p.name for p in first.parent.iterdir()) == ["one.md", "two.md"]
    blocked = tmp_path / "file"
    blocked.write_text("a file")
    with pytest.raises(BadInput, match="cannot be written"):
        written({blocked / "x.md": b"new"})


def test_a_document_with_no_facts_at_all_says_so_and_invents_nothing() -> None:
    from golive.documents.alternatives import AlternativeFacts

    sources = Sources()
    ref = sources.add_file("runbooks/golive.yaml", b"x")
    nothing = AlternativeFacts(Figure("d" * 64, (ref,), "digest"), "", (), (), (), (), (), (), (), ())
    text = markdown(Facts(KINDS["alternatives"], "lab", datetime(2030, 1, 1, tzinfo=UTC), "./inv", sources, alternatives=nothing))
    assert text.count("no data") >= 2 and "None" not in text
