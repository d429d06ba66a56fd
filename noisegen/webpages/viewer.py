"""Pictures of one thing to be compared: with a slider and a zoom where scripts run, side by side where not.

`comparison` makes what ``compare.js`` expects, which any page may write itself::

    <figure class="compare">
      <div class="pictures">
        <div class="picture"><img src=... alt=... width=256 height=256><span class="label">clean</span></div>
        <div class="picture">...noisy...</div>
        <div class="picture">...noise × 4...</div>
      </div>
      <figcaption>...</figcaption>
    </figure>

The first picture lies left of the slider, one of the others right of it; with three or more, buttons choose which. The
pictures of a figure have one size. The script enhances all figures that are there when it runs; for those added or
changed later call ``enhanceComparisons(element)``.

`gallery` makes what ``choose.js`` expects: ``<div class="gallery" data-keys="camera ISO">`` with children that have
``data-0="S6" data-1="800"``; the script puts a select for each key before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from noisegen.webpages.markup import Markup, fragment, join
from noisegen.webpages.pictures import Picture

__all__ = ["comparison", "gallery"]


def comparison(pictures: Sequence[Picture], *, caption: object) -> Markup:
    """Pictures of the same thing and size, two or more: the first is compared with each of the others.

    Args:
        pictures: for example clean, noisy and amplified noise.
        caption: text or `Markup`; it names the viewer and so must differ from those of other viewers of the page.
    """
    return fragment(
        '<figure class="compare"><div class="pictures">{}</div><figcaption>{}</figcaption></figure>',
        join(
            fragment(
                '<div class="picture"><img src="{}" alt="{}" width="{}" height="{}" decoding="async">'
                '<span class="label">{}</span></div>',
                Markup(picture.url) if picture.url.startswith("data:image/") else picture.url,
                picture.alt,
                Markup(picture.width),
                Markup(picture.height),
                picture.label,
            )
            for picture in pictures
        ),
        caption,
    )


def gallery(
    keys: Sequence[str], items: Iterable[tuple[Sequence[str], Markup]], *, what: str, wide: bool = False
) -> Markup:
    """Things of which those can be chosen that have a certain value of a key.

    Args:
        keys: names, for example ``["camera", "ISO"]``.
        items: for each thing its value of every key, and its markup.
        what: their name in the plural, for example ``"samples"``.
        wide: whether each takes the whole width.
    """
    return fragment(
        '<div class="gallery{}" data-keys="{}" data-what="{}">{}</div>',
        Markup(" wide" if wide else ""),
        "|".join(keys),
        what,
        join(
            fragment(
                "<div{}>{}</div>",
                Markup("").join(
                    fragment(' data-{}="{}"', Markup(place), value) for place, value in enumerate(values)
                ),
                content,
            )
            for values, content in items
        ),
    )
