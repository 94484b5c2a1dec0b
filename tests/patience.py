"""How long tests wait for an event: so long that only a defect exceeds it, and no busy machine."""

from __future__ import annotations

from typing import Final

PATIENCE_S: Final = 400.0
