"""Pieces of HTML; the one place where text from outside becomes part of a page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

__all__ = [
    "Markup",
    "code_block",
    "details",
    "facts",
    "fragment",
    "join",
    "paragraph",
    "slug",
    "table",
    "text",
]

Cell = object

_NUMBER, _SHORT = Markup(' class="number"'), Markup(' class="short"')


def text(value: object) -> Markup:
    """Any value as HTML text or the value of an attribute in quotes; `Markup` stays as it is.

    Characters that cannot be seen or that turn the direction of writing become U+FFFD, but for line ends and tabs. None
    becomes a dash; numbers are written as `number` does.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("–")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Markup(number(value))
    found = str(value)
    if not found.isprintable():
        found = "".join(c if c in "\n\t" or _visible(c) else "\N{REPLACEMENT CHARACTER}" for c in found)
    return escape(found)


def number(value: float) -> str:
    """A whole number with thin spaces between thousands, any other with three significant digits at least."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if value != value:
        return "–"
    if abs(value) >= 100:
        return number(round(value))
    return f"{value:#.3g}" if value and abs(value) < 1000 else f"{value:g}"


def fragment(template: str, *values: object, **named: object) -> Markup:
    """HTML with values put into its braces, as `str.format` does, each escaped by `text`.

    >>> fragment("<b title='{}'>{}</b>", "it's", "<script>")
    Markup('<b title='it&#39;s'>&lt;script&gt;</b>')
    """
    return Markup(template.format(*map(text, values), **{name: text(value) for name, value in named.items()}))


def join(pieces: Iterable[Markup]) -> Markup:
    """Pieces one after the other, each in a line of its own."""
    return Markup("\n").join(pieces)


def paragraph(template: str, *values: object) -> Markup:
    """A paragraph; ``template`` is HTML, the values are escaped."""
    return fragment("<p>{}</p>", fragment(template, *values))


def facts(pairs: Iterable[tuple[str, object]], *, long: bool = False) -> Markup:
    """Names and values, as a list of definitions: beside each other, or in lines of their own where they are long."""
    return fragment(
        '<dl class="facts{}">{}</dl>',
        Markup(" long" if long else ""),
        join(fragment("<div><dt>{}</dt><dd>{}</dd></div>", name, value) for name, value in pairs),
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, caption: str) -> Markup:
    """A table whose first column heads its rows; columns that hold only numbers stand right.

    Args:
        headings: one for each column.
        rows: text, numbers, None or `Markup`.
        caption: what the table shows; also its name for screen readers.
    """
    lines = [list(row) for row in rows]
    numeric = [
        bool(lines)
        and all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            for value in column
        )
        for column in (zip(*lines, strict=True) if lines else [[]] * len(headings))
    ]
    head = join(
        fragment('<th scope="col"{}>{}</th>', _NUMBER if is_number else Markup(""), name)
        for is_number, name in zip(numeric, headings, strict=True)
    )
    body = join(
        fragment(
            "<tr>{}</tr>",
            join(
                fragment(
                    '<th scope="row"{}>{}</th>' if place == 0 else "<td{}>{}</td>",
                    _NUMBER if numeric[place] else _SHORT if _is_short(value) else Markup(""),
                    value,
                )
                for place, value in enumerate(line)
            ),
        )
        for line in lines
    )
    return fragment(
        '<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        "<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        caption=caption,
        head=head,
        body=body,
    )


def details(summary: str, content: Iterable[Markup], *, is_open: bool = False) -> Markup:
    """Something that is shown on request."""
    return fragment(
        "<details{}><summary>{}</summary>{}</details>",
        Markup(" open" if is_open else ""),
        summary,
        join(content),
    )


def code_block(source: str, *, name: str) -> Markup:
    """Lines of a program or a file; ``name`` says to screen readers what they are."""
    return fragment('<pre tabindex="0" role="region" aria-label="{}"><code>{}</code></pre>', name, source)


def slug(title: str) -> str:
    """A title as the name of a place in the page."""
    return (
        "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in title.lower()).split())
        or "section"
    )


def _is_short(value: Cell) -> bool:
    """Whether a cell is not to be broken into lines."""
    return isinstance(value, str) and not isinstance(value, Markup) and len(value) <= 24


def _visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
