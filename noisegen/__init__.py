"""noisegen: realistic noisy/clean pairs from clean photographs."""

from __future__ import annotations

__version__ = "0.1.0"
