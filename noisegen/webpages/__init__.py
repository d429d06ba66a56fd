"""Self-contained web pages: one HTML file that asks the network for nothing.

A page is put together from pieces of `Markup`::

    from noisegen.webpages import markup, page, pictures, viewer

    section = page.Section(
        "Samples",
        [
            markup.paragraph("Four of {} tiles.", tiles),  # a template; every value is escaped
            viewer.comparison(
                [
                    pictures.Picture.of("clean", clean),  # uint8 or uint16 [H, W, C]
                    pictures.Picture.of("noisy", noisy),
                    pictures.Picture.of("noise × 4", pictures.amplified_noise(noisy, clean)),
                ],
                caption="S6, ISO 800",
            ),
            markup.table(["camera", "tiles"], [["S6", 12]], caption="Tiles by camera."),
            pictures.chart(figure, "Noise std against clean value; 3.1 at 128.", [markup.table(...)]),
        ],
    )
    text = page.Page("holiday", "A noisy/clean dataset.", [section]).html()

- `markup`: text, tables, lists of facts, things to open; nothing else turns text from outside into HTML.
- `pictures`: pictures and charts as data URLs.
- `viewer`: pictures of one thing to compare with a slider and a zoom; a gallery to choose from.
- `page`: the frame with navigation, style and scripts. Its Content-Security-Policy allows the page's own style and
  scripts by their hashes, and data URLs for pictures, nothing else: so no ``style=`` and no ``onclick=`` attributes.

``style.css``, ``compare.js`` and ``choose.js`` can also be served as files; `viewer` says what markup they expect.
"""
