"""How a dataset came about: what failed, how fast it was, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from noisegen.report.dataset_facts import DatasetFacts
from noisegen.synthesis.card import builds_of
from noisegen.synthesis.shards import Failure
from noisegen.webpages.markup import Markup, code_block, details, facts, fragment, paragraph, table
from noisegen.webpages.page import Section

__all__ = ["failure_section", "provenance_section", "throughput_section"]

# of a message, a name, and a list of problems or settings
LONGEST_MESSAGE, LONGEST_NAME, LISTED, LONGEST_SETTINGS = 600, 200, 20, 20_000


def failure_section(found: DatasetFacts, problems: Sequence[str]) -> Section:
    """Photographs that gave no tiles, tiles left out, and what of the dataset could not be read for this page."""
    failures, left_out = found.table["failures"], found.table["left_out"]
    content = [
        _failures_of(reason, int(failures[reason]), examples) for reason, examples in found.examples.items()
    ]
    if not failures:
        content.append(paragraph("No photograph failed."))
    elif found.complete:
        content.append(paragraph("All of them are in <code>failures.jsonl</code>."))
    if left_out:
        rows = [[reason, count] for reason, count in left_out.items()]
        content.append(table(["reason", "tiles"], rows, caption="Tiles that the selection left out"))
    if problems:
        items = Markup("").join(fragment("<li>{}</li>", _cut(problem)) for problem in problems[:LISTED])
        more = f"and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        content.append(
            fragment(
                '<div class="warning"><p>Not in this page, as it could not be read (<code>noisegen verify</code> '
                "checks every file of the dataset):</p><ul>{}</ul>{}</div>",
                items,
                more,
            )
        )
    return Section("Failures", content)


def _failures_of(reason: str, count: int, examples: Sequence[Failure]) -> Markup:
    rows = [
        [
            str(failure.row),
            _cut(failure.id, LONGEST_NAME),
            _cut(failure.path, LONGEST_NAME),
            _cut(failure.message),
        ]
        for failure in examples
    ]
    more = count - len(examples)
    first = f"the first {len(examples)} of {count}" if more > 0 else str(count)
    return table(["row", "photograph", "path", "what was wrong"], rows, caption=f"{reason}: {first}")


def throughput_section(found: DatasetFacts) -> Section:
    """How fast it was built, where the time went, and on what."""
    status, host = found.status, found.host
    if status.megapixels_per_second is None:
        return Section("Throughput", [])
    rate = status.megapixels_per_second
    tile = found.run["config"]["tile_size"] ** 2 / 1e6
    pairs: list[tuple[str, object]] = [
        (
            "rate",
            f"{rate:.2f} MP/s, {rate / tile:.1f} tiles/s"
            + (" of each process" if status.processes > 1 else ""),
        ),
        ("limited by", status.bottleneck),
    ]
    pairs += [(name, host[name]) for name in ("processor", "device", "kernels", "workers") if host.get(name)]
    content = [
        paragraph(
            "Mean over {} finished shards. Megapixels are those of noisy tiles, after everything: reading, noise, "
            "compression, writing.",
            status.sampled,
        ),
        facts(pairs),
        table(
            ["stage", "share, %"],
            [[name, 100 * share] for name, share in status.stages.items()],
            caption="Where the time of the threads went (idle: no tile to make)",
        ),
    ]
    if lines := _profile_rows(found.profile):
        headings = ["threads", "what", "seconds", "share, %", "MP/s"]
        caption = "The last build with --profile, by thread"
        content.append(details("Profile", [table(headings, lines, caption=caption)]))
    return Section("Throughput", content)


def _profile_rows(profile: Mapping[str, Any]) -> list[list[object]]:
    """Lines of state/profile.json, which another version may have written."""
    try:
        return [
            [
                f"{profile['threads'][line['threads']]} {line['threads']}",
                line["activity"]
                if line["activity"] == line["stage"]
                else f"{line['stage']}: {line['activity']}",
                float(line["seconds"]),
                100 * float(line["share"]),
                line["megapixels_per_second"],
            ]
            for line in profile.get("spent", ())
        ]
    except (KeyError, TypeError, ValueError):
        return []


def provenance_section(found: DatasetFacts) -> Section:
    """What the dataset is a function of."""
    run = found.run
    builds = list(builds_of(run))
    content = [
        paragraph(
            "The dataset is a function of what stands here: the same command with the same versions gives the same "
            "bytes."
        )
    ]
    if builds != [run]:
        content.append(paragraph("Made by <code>noisegen {}</code> from what this gave:", run["command"]))
    for build in builds[:LISTED]:
        content += _build(build)
    if len(builds) > LISTED:
        content.append(paragraph("{} more builds are in run.json.", len(builds) - LISTED))
    content.append(_settings("run.json, all of it", run))
    return Section("Provenance", content)


def _build(build: Mapping[str, Any]) -> list[Markup]:
    config = build["config"]
    pairs: list[tuple[str, object]] = [
        ("command", f"noisegen {build['command']}"),
        ("seed", str(config["seed"])),
        ("noise model, SHA-256", build["checkpoint_sha256"]),
        ("terms of its training data", build["checkpoint_licence"]),
        ("manifest of the photographs, SHA-256", build["manifest_sha256"]),
        ("licence of the dataset", config["license"]),
    ]
    if pool := build.get("noisy_pool"):
        pairs.append(("noisy pictures it took references from", pool["pictures"]))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(build["versions"].items()))
    chosen = {name: value for name, value in config.items() if value is not None}
    rows = [[name, json.dumps(value, ensure_ascii=False)] for name, value in sorted(chosen.items())]
    return [
        facts([*pairs, ("versions", versions)], long=True),
        details("Settings", [table(["setting", "value"], rows, caption="Settings of the build")]),
    ]


def _settings(summary: str, value: Mapping[str, Any]) -> Markup:
    return details(
        summary,
        [code_block(_cut(json.dumps(value, indent=1, ensure_ascii=False), LONGEST_SETTINGS), name=summary)],
    )


def _cut(text: str, longest: int = LONGEST_MESSAGE) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
