"""How a dataset is written: names of formats, folder layouts and PNG levels. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean

__all__ = ["FORMAT_NAMES", "LAYOUTS", "PNG_LEVELS", "OutputChoice"]

FORMAT_NAMES = ("webdataset", "parquet", "folders", "lmdb", "hdf5")
# names of the folders of the noisy and of the clean pictures
LAYOUTS = {
    "basicsr": ("lq", "gt"),
    "nafnet": ("input_crops", "gt_crops"),
    "restormer": ("input_crops", "target_crops"),
    "kair": ("trainL", "trainH"),
}
PNG_LEVELS = ("stored", "fast", "small")
_PACKAGES = {"lmdb": "lmdb", "hdf5": "h5py"}


@dataclass(frozen=True)
class OutputChoice:
    """A format with what belongs to it.

    Attributes:
        format: one of FORMAT_NAMES.
        layout: one of LAYOUTS; None where the format is not "folders".
        png_level: one of PNG_LEVELS; None where the format is "hdf5", which keeps raw pixels.
    """

    format: str
    layout: str | None
    png_level: str | None

    @classmethod
    def resolve(cls, format: str, layout: str | None, png_level: str | None) -> OutputChoice:
        """Fills in what was not asked for: layout "basicsr", level "fast".

        Raises:
            UsageError: a name is not known or does not belong to the format, or the format's package is missing.
        """
        for option, value, known in (
            ("format", format, FORMAT_NAMES),
            ("layout", layout, LAYOUTS),
            ("png-level", png_level, PNG_LEVELS),
        ):
            if value is not None and value not in known:
                hint = did_you_mean(value, known) or ";"
                raise UsageError(f"{option} {value!r} is not known{hint} known: {', '.join(known)}")
        if layout is not None and format != "folders":
            raise UsageError(f"layout {layout} belongs to format folders; leave it out with {format}")
        if png_level is not None and format == "hdf5":
            raise UsageError("format hdf5 keeps raw pixels, not PNG files; leave png-level out")
        package = _PACKAGES.get(format)
        if package is not None and importlib.util.find_spec(package) is None:
            raise UsageError(f"format {format} needs {package}: pip install 'noisegen[{format}]'")
        return cls(
            format,
            (layout or "basicsr") if format == "folders" else None,
            (png_level or "fast") if format != "hdf5" else None,
        )
