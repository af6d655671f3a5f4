"""Where tests hold a process between two steps of a checkout, to kill it just there.

Only with `DOORBUSTER_PAUSE_DIR`. A file there that is named like a step (`captured`) stops the
next process that reaches the step: it takes the file away, so that only one stops, writes
`captured.at` with its process id, and goes on when that file is gone. The steps are
those of `domain.checkout_steps.PAUSE_POINTS`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from actors.settlement import Pause

_LOOK_EVERY_S = 0.02
PAUSE_S_MAX = 120.0


def pause_in(pause_dir: str) -> Pause | None:
    """The pauses that are asked for in a folder; None without one, so that nothing is looked up."""
    if not pause_dir:
        return None
    folder = Path(pause_dir)

    async def pause(step: str) -> None:
        try:
            (folder / step).unlink()
        except OSError:
            return
        held = folder / f"{step}.at"
        held.write_text(str(os.getpid()))
        async with asyncio.timeout(PAUSE_S_MAX):
            while held.exists():  # noqa: ASYNC110 - another process takes the file away
                await asyncio.sleep(_LOOK_EVERY_S)

    return pause
