"""`doorbuster demo`: a flash sale against a real shop, from nothing to the audited report."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop
from rich.console import Console

from domain import ids
from serve_apps.catalog_import import import_catalog
from serve_apps.composition import Parts, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import (
    SAMPLE_PRODUCTS,
    SAMPLE_SEED,
    add_products,
    audit_shop,
    databases,
    running_shop,
)
from sim.catalog import generate_catalog, hot_product
from sim.sale import SalePlan, run_sale
from sim.sale_screen import SaleScreen, render_report

_HOT = """
    SELECT p.product_id, i.inventory_id FROM product_variants v
    JOIN products p USING (product_id) JOIN inventory i USING (variant_id) WHERE v.sku = $1
"""
_SOLD = """
    SELECT coalesce(sum(quantity), 0)::int FROM inventory_reservations
    WHERE inventory_id = $1 AND status IN ('allocated', 'shipped')
"""
_SALES_BEFORE = "SELECT count(*) FROM products WHERE handle LIKE $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What the sale is to be."""

    catalog: Path | None
    """A Shopify export to sell from; None: the generated catalog."""
    buyers: int
    stock: int
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hot:
    product_id: UUID
    inventory_id: UUID
    name: str


def run_demo(settings: Settings, plan: DemoPlan, console: Console) -> dict[str, Any]:
    """Stock the shop, open it, hold the sale, audit; the report as a document.

    Uses the shop that runs in this home, or starts one and stops it again.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    console.print(f"[bold]doorbuster[/] stocks the shop in {settings.home} …", highlight=False)
    with databases(settings) as filled:
        hot = asyncio.run(_stock(filled, plan))
    console.print("opens it: Postgres, Redis, Ray, Serve behind HAProxy …")
    with running_shop(settings) as shop:
        console.print(
            f"open at {shop.run.base_url} after {shop.seconds_to_ready:.1f} s; "
            f"{plan.buyers:,} buyers for {plan.stock:,} units",
            highlight=False,
        )
        urls = {"database_url": shop.run.database_url, "redis_url": shop.run.redis_url}
        filled = settings.model_copy(update=urls)
        report = uvloop.run(_sell_and_audit(filled, shop.run.base_url, plan, hot, console))
        report["seconds_to_ready"] = shop.seconds_to_ready
    console.print(render_report(report))
    return report


async def _stock(settings: Settings, plan: DemoPlan) -> _Hot:
    async with open_parts(settings, "demo") as parts:
        if plan.catalog is not None:
            await import_catalog(parts.pool, plan.catalog, format="shopify-csv")
        elif not await parts.catalog.count():
            await add_products(parts, list(generate_catalog(SAMPLE_SEED, SAMPLE_PRODUCTS)))
        return await _add_hot(parts, plan.stock)


async def _add_hot(parts: Parts, stock: int) -> _Hot:
    """Every sale has a hot product of its own: what an earlier one sold stays sold."""
    product = hot_product(stock)
    number = 1 + await parts.pool.fetchval(_SALES_BEFORE, f"{product.handle}%")
    sku = product.variants[0].sku.removesuffix("1") + str(number)
    variant = dataclasses.replace(product.variants[0], sku=sku)
    name = product.name if number == 1 else f"{product.name} (drop {number})"
    product = dataclasses.replace(
        product, handle=f"{product.handle}-{number}", name=name, variants=(variant,)
    )
    await add_products(parts, [product])
    row = await parts.pool.fetchrow(_HOT, sku)
    return _Hot(product_id=row["product_id"], inventory_id=row["inventory_id"], name=name)


async def _sell_and_audit(
    settings: Settings, base_url: str, plan: DemoPlan, hot: _Hot, console: Console
) -> dict[str, Any]:
    sale = SalePlan(
        base_url=base_url,
        hot_product_id=ids.encode("prod", hot.product_id),
        hot_stock=plan.stock,
        buyers=plan.buyers,
        seed=plan.seed,
    )
    with SaleScreen(console, product_name=hot.name) as screen:
        result = await run_sale(sale, screen.update)
    acknowledged = [ids.decode("order", order_id) for order_id in result.acknowledged]
    async with open_parts(settings, "demo") as parts:
        report = await audit_shop(parts, acknowledged=acknowledged)
        sold = await parts.pool.fetchval(_SOLD, hot.inventory_id)
    return {
        **result.to_json(),
        "hot_sku_stock": plan.stock,
        "hot_sku_sold": sold,
        "oversold": max(0, sold - plan.stock),
        "audit": report.as_json(),
    }


def succeeded(report: dict[str, Any]) -> bool:
    """The sale ran to its end, nothing was oversold, and every promise held."""
    finished = report["shoppers_finished"] == report["shoppers"]
    return bool(finished and report["oversold"] == 0 and report["audit"]["ok"])
