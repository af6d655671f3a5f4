"""The sale in the terminal: live while it runs, and the report when it is over.

On a terminal with colours it is drawn in place; otherwise (a pipe, CI, NO_COLOR) it is one plain
line a second.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from domain.promises import PROMISES
from sim.sale import SaleProgress

REFRESH_PER_S = 10
PLAIN_EVERY_S = 1.0
SPARK_POINTS = 56
"""Width of the drawn rate, one character per progress report."""

WIDTH = 92
_TWO_COLUMNS_FROM = 86  # within a panel of WIDTH: no promise's name is cut
_SPARKS = "▁▂▃▄▅▆▇█"
_ACCENT = "bold orange1"
_QUIET = "grey62"
_GOOD = "green3"
_BAD = "bold red3"
_LOW_STOCK_SHARE = 0.2


class SaleScreen:
    """Shows a running sale; `update` is `run_sale`'s `on_progress`. A context manager."""

    def __init__(self, console: Console, *, product_name: str, title: str = "flash sale") -> None:
        self._console = console
        self._product_name = product_name
        self._title = title
        self._rates: deque[float] = deque(maxlen=SPARK_POINTS)
        self._plain_due_s = 0.0
        self._last: SaleProgress | None = None
        self._live: Live | None = None
        if console.is_terminal and not console.no_color and "NO_COLOR" not in os.environ:
            self._live = Live(console=console, refresh_per_second=REFRESH_PER_S, transient=False)

    def __enter__(self) -> SaleScreen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._last is not None:
            self._print_plain(self._last)

    def update(self, progress: SaleProgress) -> None:
        """Takes the newest state of the sale."""
        self._last = progress
        self._rates.append(progress.orders_per_second)
        if self._live is not None:
            self._live.update(
                render_progress(
                    progress,
                    product_name=self._product_name,
                    title=self._title,
                    rates=list(self._rates),
                )
            )
        elif progress.elapsed_s >= self._plain_due_s:
            self._print_plain(progress)
            self._plain_due_s = progress.elapsed_s + PLAIN_EVERY_S

    def _print_plain(self, progress: SaleProgress) -> None:
        line = plain_line(progress, self._console.width)
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def plain_line(progress: SaleProgress, width: int) -> str:
    """The state of a sale in one line; what matters least is left out where it does not fit."""
    parts = [
        f"{progress.elapsed_s:5.1f} s  {progress.finished}/{progress.shoppers} shoppers",
        f"{progress.orders_confirmed} orders",
        f"{progress.errors} errors",
    ]
    where = 2
    if progress.stock_left is not None:
        parts.insert(where, f"{progress.stock_left} left")
    for text in (
        f"{progress.orders_per_second:.0f}/s",
        f"p99 {progress.checkout_ms_p99:.0f} ms",
        f"p50 {progress.checkout_ms_p50:.0f} ms",
    ):
        wider = [*parts[:where], text, *parts[where:]]
        if len(", ".join(wider)) > width:
            break
        parts, where = wider, where + 1
    return ", ".join(parts)


def render_progress(
    progress: SaleProgress, *, product_name: str, title: str, rates: list[float]
) -> RenderableType:
    """The live picture of a sale; `rates` are the last orders/s, oldest first."""
    bars = Table.grid(padding=(0, 2), expand=True)
    bars.add_column(width=9, style=_QUIET)
    bars.add_column(ratio=1)
    bars.add_column(width=22, justify="right")
    bars.add_row(
        "shoppers",
        _bar(progress.finished, progress.shoppers, "orange1"),
        Text(f"{progress.finished:,} / {progress.shoppers:,}", style="bold"),
    )
    if progress.hot_stock:
        bars.add_row()
        bars.add_row("stock", *_stock_row(progress, progress.hot_stock))
    figures = _figures(
        (f"{progress.orders_per_second:,.0f}", "orders/s", _ACCENT),
        (f"{progress.checkout_ms_p50:,.0f} ms", "checkout p50", "bold"),
        (f"{progress.checkout_ms_p99:,.0f} ms", "checkout p99", "bold"),
        (f"{progress.orders_confirmed:,}", "confirmed", f"bold {_GOOD}"),
        (f"{progress.orders_rejected:,}", "turned away", "bold"),
        (f"{progress.errors:,}", "errors", _BAD if progress.errors else f"bold {_GOOD}"),
    )
    spark = Text.assemble((_sparkline(rates), "orange1"), ("  orders/s", _QUIET))
    return Panel(
        Group(
            Text(product_name, style="bold", no_wrap=True, overflow="ellipsis"),
            Text(),
            bars,
            Text(),
            figures,
            Text(),
            spark,
        ),
        title=Text.assemble((" DOORBUSTER ", "bold grey3 on orange1"), (f" {title} ", _QUIET)),
        title_align="left",
        subtitle=Text(f" {progress.elapsed_s:.1f} s ", style=_QUIET),
        subtitle_align="right",
        border_style="orange1",
        box=box.ROUNDED,
        padding=(1, 2),
        width=WIDTH,
    )


def render_report(result: Mapping[str, Any]) -> RenderableType:
    """The final report of a demo's JSON document: the sale, its figures and the audit."""
    stock, sold = result.get("hot_sku_stock"), result["hot_sku_sold"]
    oversold = int(result.get("oversold", 0))
    audit: Mapping[str, Any] = result.get("audit") or {}
    verdict, verdict_style, border = _verdict(oversold, audit)
    checkout = result["checkout_ms"]
    figures = _figures(
        (f"{result['orders_per_second']:,.0f}", "orders/s", _ACCENT),
        (f"{checkout['p50']:,.0f} ms", "checkout p50", "bold"),
        (f"{checkout['p99']:,.0f} ms", "checkout p99", "bold"),
        (f"{checkout['max']:,.0f} ms", "slowest", "bold"),
        (f"{result['errors']:,}", "errors", _BAD if result["errors"] else f"bold {_GOOD}"),
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style=_QUIET, width=16)
    facts.add_column()
    facts.add_row("orders confirmed", Text(f"{result['orders_confirmed']:,}", style="bold"))
    for problem, count in sorted(result["orders_rejected"].items(), key=lambda kv: -kv[1]):
        facts.add_row("turned away", f"{count:,}  {problem.replace('_', ' ')}")
    facts.add_row("hot SKU", _hot_line(stock, sold, oversold))
    if result.get("sold_out_after_s") is not None:
        facts.add_row("sold out after", f"{result['sold_out_after_s']:.1f} s")
    if result.get("seconds_to_ready") is not None:
        facts.add_row("shop ready in", f"{result['seconds_to_ready']:.1f} s")
    parts: list[RenderableType] = [figures, Text(), facts]
    if audit:
        parts += [
            Text(),
            Rule("audit, with the number of facts checked", style=_QUIET),
            Text(),
            _AuditTable(audit),
        ]
    return Panel(
        Group(*parts),
        title=Text(verdict, style=verdict_style),
        title_align="left",
        border_style=border,
        box=box.ROUNDED,
        padding=(1, 2),
        width=WIDTH,
    )


def render_audit(audit: Mapping[str, Any]) -> RenderableType:
    """The audit alone: every promise, and below them what was found to break one."""
    lines: list[RenderableType] = [_AuditTable(audit)]
    for id_, verdict in audit["promises"].items():
        lines += [Text(f"{id_}  {violation}", style=_BAD) for violation in verdict["violations"]]
    kept = bool(audit["ok"])
    return Panel(
        Group(*lines),
        title=Text(" EVERY PROMISE HOLDS " if kept else " A PROMISE IS BROKEN "),
        title_align="left",
        border_style=_GOOD if kept else "red3",
        box=box.ROUNDED,
        padding=(1, 2),
        width=WIDTH,
    )


def _verdict(oversold: int, audit: Mapping[str, Any]) -> tuple[str, str, str]:
    """What the report says above everything: text, its style, the border's. No audit, no praise."""
    if oversold or not audit.get("ok", True):
        return " THE SALE BROKE A PROMISE ", "bold white on red3", "red3"
    if not audit:
        return " THE SALE IS OVER, NOT AUDITED ", "bold grey3 on orange1", "orange1"
    return " SOLD EXACTLY WHAT IT HAD ", "bold grey3 on green3", _GOOD


def _stock_row(progress: SaleProgress, stock: int) -> tuple[RenderableType, Text]:
    left = max(0, stock - progress.hot_sold)
    low = left <= stock * _LOW_STOCK_SHARE
    if left == 0:
        when = progress.sold_out_after_s
        badge = " SOLD OUT " if when is None else f" SOLD OUT at {when:.1f} s "
        return _bar(0, stock, "red3"), Text(badge, style="bold white on red3")
    colour = "red3" if low else _GOOD
    return _bar(left, stock, colour), Text(f"{left:,} of {stock:,} left", style=f"bold {colour}")


def _bar(done: float, total: float, colour: str) -> RenderableType:
    return Bar(max(total, 1), 0, done, color=colour, bgcolor="grey19")


def _figures(*figures: tuple[str, str, str]) -> Table:
    """Figures side by side, each above its name: (figure, name, style)."""
    grid = Table.grid(padding=(0, 1), expand=True)
    for _ in figures:
        grid.add_column(justify="center", no_wrap=True)
    grid.add_row(*(Text(figure, style=style) for figure, _, style in figures))
    grid.add_row(*(Text(name, style=_QUIET) for _, name, _ in figures))
    return grid


def _sparkline(rates: list[float]) -> str:
    top = max(rates, default=0.0) or 1.0
    return "".join(_SPARKS[round(rate / top * (len(_SPARKS) - 1))] for rate in rates)


def _hot_line(stock: int | None, sold: int, oversold: int) -> Text:
    of_stock = "" if stock is None else f" of {stock:,}"
    line = Text.assemble((f"{sold:,}", "bold"), (f"{of_stock} units sold, ", ""))
    return line.append(f"{oversold:,} oversold", style=_BAD if oversold else f"bold {_GOOD}")


class _AuditTable:
    """The promises, two to a row where there is room for their names, else one below the other."""

    def __init__(self, audit: Mapping[str, Any]) -> None:
        self._audit = audit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _audit_table(self._audit, 2 if options.max_width >= _TWO_COLUMNS_FROM else 1)


def _audit_table(audit: Mapping[str, Any], columns: int) -> Table:
    """Of each promise: verdict and id, title, how many facts were checked."""
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(columns):
        table.add_column(width=5)
        table.add_column(ratio=1, no_wrap=True)
        table.add_column(justify="right", width=9)
        table.add_column(width=1)
    verdicts: Mapping[str, Mapping[str, Any]] = audit.get("promises", {})
    cells = [
        _promise_cells(promise.id, promise.title, verdicts[promise.id])
        for promise in PROMISES
        if promise.id in verdicts
    ]
    rows = (len(cells) + columns - 1) // columns
    for row in range(rows):
        table.add_row(*(cell for beside in cells[row::rows] for cell in beside))
    return table


def _promise_cells(
    id_: str, title: str, verdict: Mapping[str, Any]
) -> tuple[Text, Text, Text, str]:
    violations = len(verdict.get("violations", ()))
    mark = ("✔ ", f"bold {_GOOD}") if verdict["ok"] else ("✘ ", _BAD)
    tail = (
        Text(f"{violations:,} broken", style=_BAD)
        if violations
        else Text(f"{verdict.get('checked', 0):,}", style=_QUIET)
    )
    return Text.assemble(mark, (id_, "bold")), Text(title), tail, ""
