"""The job files of docker/, filled in as a user would."""

from __future__ import annotations

import re
from typing import Any

import yaml
from image_fixtures import DOCKER

VALUES = {
    "YOUR_IMAGE": "registry.example/noisegen:0.1.0",
    "YOUR_BUCKET": "s3://my-bucket/project",
    "YOUR_JOB_ROLE": "arn:aws:iam::111122223333:role/noisegen",
    "YOUR_QUEUE": "gpu-queue",
    "YOUR_SERVICE_ACCOUNT": "noisegen@my-project.iam.gserviceaccount.com",
}
PLACEHOLDER = re.compile(r"YOUR_[A-Z_]+")


def comment_at_top(name: str) -> str:
    """The lines with which a file begins, as far as they are comments."""
    lines = (DOCKER / name).read_text(encoding="utf-8").splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def placeholders(name: str) -> set[str]:
    """The placeholders that a file uses behind its comment."""
    text = (DOCKER / name).read_text(encoding="utf-8")
    return set(PLACEHOLDER.findall(text.removeprefix(comment_at_top(name))))


def filled(name: str) -> list[dict[str, Any]]:
    """A file's YAML documents with all placeholders filled in."""
    text = (DOCKER / name).read_text(encoding="utf-8")
    return list(yaml.safe_load_all(PLACEHOLDER.sub(lambda match: VALUES[match[0]], text)))
