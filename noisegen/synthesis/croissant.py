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

# as the specification gives it
_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
    *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
    *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
    "transform",
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
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
                _file_set("index", "index/*.parquet", "application/x-parquet"),
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
