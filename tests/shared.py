"""The folder beside the checkout with what is not part of the project: goldens and real clips."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SHARED"]

SHARED = Path(os.environ.get("VFI_SHARED") or Path(__file__).resolve().parents[2] / "shared")
