"""`doorbuster stock …`: the sub-command, put together from its parts."""

from __future__ import annotations

import typer

from serve_apps.placement_commands import add_placement_commands
from serve_apps.stock_in_commands import add_stock_in_commands

stock_app = typer.Typer(
    name="stock", help="Bring stock in, set its rules, place hot pairs.", no_args_is_help=True
)
add_stock_in_commands(stock_app)
add_placement_commands(stock_app)
