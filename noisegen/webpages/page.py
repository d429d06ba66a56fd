"""The frame of a self-contained page: title, navigation, sections, style, scripts, and the policy that shuts it in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from noisegen.webpages.markup import Markup, fragment, join, slug, text

__all__ = ["SCRIPTS", "STYLE", "Page", "Section", "asset"]

STYLE = "style.css"
SCRIPTS = ("compare.js", "choose.js")

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{title}</h1>
{lead}
<nav aria-label="Sections"><ul>{navigation}</ul></nav>
</header>
<main id="content" tabindex="-1">
{sections}
</main>
{scripts}
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A part of a page, with a heading and an entry in the navigation.

    Attributes:
        title: short.
        content: pieces made by `noisegen.webpages`; headings within start at h3.
    """

    title: str
    content: Sequence[Markup]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: its heading.
        lead: a sentence or two below it: plain text, or `Markup` of whole paragraphs.
        sections: in their order; those without content are left out.
        numbers: what the page shows as plain values, for ``--json``.
    """

    title: str
    lead: str | Markup
    sections: Sequence[Section]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def html(self) -> str:
        """The whole page; the same page gives the same text."""
        style = asset(STYLE)
        scripts = [asset(name) for name in SCRIPTS]
        shown = [section for section in self.sections if section.content]
        lead = self.lead if isinstance(self.lead, Markup) else fragment('<p class="lead">{}</p>', self.lead)
        return str(
            fragment(
                _FRAME,
                policy=_policy(style, scripts),
                title=self.title,
                style=Markup(style),
                lead=lead,
                navigation=join(
                    fragment('<li><a href="#{}">{}</a></li>', slug(section.title), section.title)
                    for section in shown
                ),
                sections=join(
                    fragment(
                        '<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>\n'
                        "{content}\n</section>",
                        name=slug(section.title),
                        title=section.title,
                        content=join(section.content),
                    )
                    for section in shown
                ),
                scripts=join(fragment("<script>{}</script>", Markup(script)) for script in scripts),
            )
        )

    def encoded(self) -> bytes:
        """The page as UTF-8."""
        return self.html().encode("utf-8")


def asset(name: str) -> str:
    """The text of ``style.css``, ``compare.js`` or ``choose.js``."""
    return resources.files("noisegen.webpages").joinpath(name).read_text("utf-8")


def _policy(style: str, scripts: Sequence[str]) -> Markup:
    """Own style and scripts by their hashes, pictures within the page; nothing else may be loaded, sent or run."""
    hashes = " ".join(_hash(script) for script in scripts)
    return text(
        f"default-src 'none'; img-src data: blob:; style-src {_hash(style)}; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
