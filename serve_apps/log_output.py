"""What logs may not tell: the values in a failing function."""

from __future__ import annotations

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback


def keep_values_out_of_tracebacks() -> None:
    """Tracebacks name files and lines only, in this process from now on.

    structlog's own show every local variable where `rich` is installed: addresses, tokens, keys.
    """
    processors = structlog.get_config()["processors"]
    plain = ConsoleRenderer(colors=False, exception_formatter=plain_traceback)
    structlog.configure(
        processors=[plain if isinstance(one, ConsoleRenderer) else one for one in processors]
    )
