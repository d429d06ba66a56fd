"""Previews: what noise models do to one photograph, on one sheet for people."""

from noisegen.preview.choice import ConditionChoice, choose_conditions
from noisegen.preview.columns import Column, Preview, make_preview
from noisegen.preview.photographs import (
    PreviewPlan,
    PreviewRequest,
    check_output,
    plan_preview,
    run_preview,
    write_sheet,
)
from noisegen.preview.places import Place, asked_place, choose_places, crop_size
from noisegen.preview.sheet import draw_sheet

__all__ = [
    "Column",
    "ConditionChoice",
    "Place",
    "Preview",
    "PreviewPlan",
    "PreviewRequest",
    "asked_place",
    "check_output",
    "choose_conditions",
    "choose_places",
    "crop_size",
    "draw_sheet",
    "make_preview",
    "plan_preview",
    "run_preview",
    "write_sheet",
]
