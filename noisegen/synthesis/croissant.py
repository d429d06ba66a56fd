"""croissant.json: the dataset described in MLCommons' Croissant 1.0 (JSON-LD), for tools that look for data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from noisegen.synthesis.card import TITLE, description
from noisegen.synthesis.files import json_bytes
from noisegen.synthesis.format_cards import format_card
from noisegen.synthesis.records import TileRecord

__all__ = ["croissant"]

# the terms used here, of the context that the specification gives
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "key": "cr:key",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}
_TYPES = {"str": "sc:Text", "int": "sc:Integer", "float": "sc:Float", "bool": "sc:Boolean"}


def croissant(run: Mapping[str, Any], table: Mapping[str, Any]) -> bytes:
    """croissant.json of a finished dataset: its files, and the index as a set of records.

    Args:
        run: contents of run.json.
        table: contents of dataset.json.
    """
    return json_bytes(
        {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": "noisegen-pairs",
            "alternateName": TITLE,
            "description": description(run, table),
            "license": run["config"]["license"],
            "version": "1.0.0",
            "keywords": ["image denoising", "synthetic noise", "noisegen"],
            "distribution": [
                *(_file_set(name, *files) for name, files in format_card(run["config"]).files.items()),
                _file_set("index", "index/*.parquet", "application/vnd.apache.parquet"),
            ],
            "recordSet": [
                {
                    "@type": "cr:RecordSet",
                    "@id": "pairs",
                    "name": "pairs",
                    "description": "A row for each noisy/clean pair; `key` names its files.",
                    "key": {"@id": "pairs/key"},
                    "field": [_field(field.name, str(field.type)) for field in fields(TileRecord)],
                }
            ],
        },
        indent=1,
    )


def _file_set(name: str, pattern: str, mime: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "includes": pattern,
        "encodingFormat": mime,
    }


def _field(name: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"pairs/{name}",
        "name": name,
        "dataType": _TYPES[kind],
        "source": {"fileSet": {"@id": "index"}, "extract": {"column": name}},
    }
