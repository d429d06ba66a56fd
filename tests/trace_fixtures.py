"""Reads traces and holds them to the rules of the Chrome Trace Event Format."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def read_trace(path: Path) -> list[Event]:
    """The events, after a look at what the format demands of each."""
    text = path.read_text()
    events: list[Event] = json.loads(text if text.endswith("]\n") else text + "]")
    for event in events:
        assert isinstance(event["name"], str) and isinstance(event["pid"], int)
        assert event["ph"] in ("X", "C", "M")
        if event["ph"] == "X":
            assert isinstance(event["cat"], str) and isinstance(event["tid"], int)
            assert event["ts"] >= 0 and event["dur"] >= 0
        elif event["ph"] == "C":
            assert event["ts"] >= 0
            assert all(isinstance(value, int | float) for value in event["args"].values())
        else:
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index")
    return events


def spans(events: list[Event]) -> dict[str, list[Event]]:
    """Complete events by the name of their track, which every track must have."""
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    tracks: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[names[event["tid"]]].append(event)
    assert len(tracks) == len(names), "two tracks share a name"
    return tracks
