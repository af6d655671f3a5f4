"""`doorbuster fraud …`: generate labelled orders, train a model on such, measure one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.catalog import RejectedRow
from domain.fraud import Scoring
from gateways.fraud_csv import (
    GENERATED,
    LabelledFileError,
    LabelledOrder,
    read_labelled_orders,
    write_labelled_orders,
)
from serve_apps.settings import Settings
from sim.fraud_orders import ORDERS_MAX, generated_orders
from storage.fraud_files import FraudFileError, load_policy, load_scoring, write_model

if TYPE_CHECKING:
    from serve_apps.fraud_training import CutOff, Evaluation

ROWS_MAX = 1_000_000
"""Orders read from one file; about 500 bytes of memory each."""
MISTAKES_SHOWN_MAX = 10
GENERATED_FROM = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first generated order is placed: the same arguments give the same file."""

_STDOUT = "-"
_errors = Console(stderr=True)

fraud_commands = typer.Typer(
    name="fraud", help="Train and measure the model of fraud.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(help="CSV of orders whose outcome is known.")]
Policy = Annotated[
    Path | None, typer.Option("--policy", help="TOML or JSON. [default: the shop's, or shipped]")
]
Picture = Annotated[
    Path | None,
    typer.Option("--picture", help="Draw the precision-recall curve here, .svg or .png."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="One JSON document on stdout, or in FILE."),
]


def _fail(message: str) -> NoReturn:
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


@fraud_commands.command()
def generate(
    file: Annotated[Path, typer.Argument(help="CSV to write.")],
    orders: Annotated[int, typer.Option(min=1, max=ORDERS_MAX, help="How many.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.")] = 1,
) -> None:
    """Write generated orders, honest and fraudulent; docs/fraud.md tells how they come about."""
    try:
        with file.open("w", encoding="utf-8", newline="") as lines:
            count = write_labelled_orders(
                lines, generated_orders(orders, seed=seed, begin=GENERATED_FROM)
            )
    except OSError as error:
        _fail(f"cannot write {file}: {error.strerror}")
    _errors.print(f"{count:,} generated orders in {escape(str(file))}", highlight=False)


@fraud_commands.command()
def train(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="The model's file.")] = Path(
        "fraud_model.json"
    ),
    picture: Picture = None,
    policy: Policy = None,
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the latest orders to measure with.")
    ] = 0.25,
    day: Annotated[
        str | None, typer.Option("--date", help="YYYY-MM-DD, kept in the model. [default: today]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the training.")] = 1,
    json: Json = None,
) -> None:
    """Train a model on a file's earlier orders and measure it on its latest, which it never saw."""
    _check_picture(picture)
    on_day = _day(day)
    rules = _scoring(policy, None, scorecard=True).policy
    orders = _read(file)
    from serve_apps.fraud_training import TrainingError, trained

    source = _source(file, orders)
    try:
        document, evaluation = trained(
            orders, day=on_day, source=source, seed=seed, held_out_share=held_out, policy=rules
        )
        write_model(out, document)
    except (TrainingError, RuntimeError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot write {out}: {error.strerror}")
    _draw(evaluation, picture, f"Held out of {source}.")
    if document["trained"]["generated"]:
        _errors.print(
            "[yellow]These orders were generated: the model knows how they were made up, and"
            " nothing of your buyers.[/]"
        )
    _errors.print(f"model {document['version']} in {escape(str(out))}", highlight=False)
    _tell(evaluation, json, extra={"model": str(out), "trained": document["trained"]})


@fraud_commands.command()
def evaluate(
    file: File,
    model: Annotated[
        Path | None, typer.Option("--model", help="[default: the shop's, or the shipped one]")
    ] = None,
    picture: Picture = None,
    policy: Policy = None,
    json: Json = None,
) -> None:
    """Measure a model and a policy on all orders of a file, beside the scorecard."""
    _check_picture(picture)
    scoring = _scoring(policy, model)
    orders = _read(file)
    from serve_apps.fraud_training import TrainingError, evaluate

    try:
        evaluation = evaluate(orders, scoring)
    except TrainingError as error:
        _fail(str(error))
    _draw(evaluation, picture, f"Of {_source(file, orders)}.")
    _tell(evaluation, json, extra={})


def _scoring(policy: Path | None, model: Path | None, *, scorecard: bool = False) -> Scoring:
    """What a shop with these settings scores with; `scorecard`: its model is not asked for."""
    try:
        settings = Settings()
        rules = policy or settings.fraud_policy
        if scorecard:
            return Scoring(policy=load_policy(rules))
        return load_scoring(rules, model or settings.fraud_model)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        _fail(
            f"DOORBUSTER_{name}: {first['msg'].removeprefix('Value error, ')} (it is {first['input']!r})"
        )
    except FraudFileError as error:
        _fail(str(error))


def _day(text: str | None) -> date:
    if text is None:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        _fail(f"--date {text} is no day; write YYYY-MM-DD")


def _check_picture(picture: Path | None) -> None:
    if picture is not None and picture.suffix not in (".svg", ".png"):
        _fail(f"--picture {picture} must end in .svg or .png")


def _read(file: Path) -> list[LabelledOrder]:
    """All orders of a file; ends the command if one of them cannot be used."""
    orders: list[LabelledOrder] = []
    mistakes: list[RejectedRow] = []
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
            for row in _bounded(file, read_labelled_orders(lines)):
                if isinstance(row, RejectedRow):
                    mistakes.append(row)
                    if len(mistakes) == MISTAKES_SHOWN_MAX:
                        break
                else:
                    orders.append(row)
    except OSError as error:
        _fail(f"cannot read {file}: {error.strerror}")
    except LabelledFileError as error:
        _fail(f"{file} cannot be used: {error}")
    if mistakes:
        told = "\n".join(f"  line {one.line}: {one.reason}" for one in mistakes)
        _fail(f"{file} has rows that cannot be used; mend or remove them:\n{told}")
    return orders


def _bounded(
    file: Path, rows: Iterator[LabelledOrder | RejectedRow]
) -> Iterator[LabelledOrder | RejectedRow]:
    for count, row in enumerate(rows):
        if count == ROWS_MAX:
            _fail(f"{file} has more than {ROWS_MAX:,} rows; train on the latest of them")
        yield row


def _source(file: Path, orders: list[LabelledOrder]) -> str:
    generated = sum(one.order_id.startswith(GENERATED) for one in orders)
    if generated == len(orders):
        return f"{generated:,} generated orders"
    made_up = f", {generated:,} of them generated" if generated else ""
    return f"{len(orders):,} orders of {file.name}{made_up}"


def _draw(evaluation: Evaluation, picture: Path | None, note: str) -> None:
    if picture is None:
        return
    from serve_apps.fraud_picture import draw_curves

    try:
        draw_curves(evaluation, picture, note=note)
    except OSError as error:
        _fail(f"cannot write {picture}: {error.strerror}")


def _tell(evaluation: Evaluation, json: str | None, *, extra: dict[str, Any]) -> None:
    if json is None:
        _show(evaluation, Console())
        return
    document = {**evaluation.as_json(), **extra}
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if json == _STDOUT:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return
    try:
        Path(json).write_bytes(text)
    except OSError as error:
        _fail(f"cannot write {json}: {error.strerror}")


def _show(evaluation: Evaluation, console: Console) -> None:
    seen = evaluation.as_json()
    rankings = Table(
        title=f"{seen['orders']:,} orders, {seen['fraud']:,} of them fraud"
        f" ({seen['fraud_share']:.2%}); model {evaluation.model_version}"
    )
    for heading in ("ranked by", "average precision", "ROC AUC", "Brier"):
        rankings.add_column(heading, justify="left" if heading == "ranked by" else "right")
    for one in evaluation.rankings:
        brier = "" if one.brier is None else f"{one.brier:.5f}"
        rankings.add_row(one.name, f"{one.average_precision:.3f}", f"{one.roc_auc:.3f}", brier)
    constant = f"{seen['brier_of_a_constant']:.5f}"
    rankings.add_row("nothing: all the same", f"{seen['fraud_share']:.3f}", "0.500", constant)
    console.print(rankings)
    cut_offs = Table(title=f"stopping orders from a risk score on; policy {seen['policy']}")
    for heading in ("from", "precision", "recall", "stopped", "fraud", "honest", "fraud missed"):
        cut_offs.add_column(heading, justify="right")
    actions = ((evaluation.review, "review"), (evaluation.decline, "decline"))
    for cut_off, action in actions:
        cut_offs.add_row(f"{action} {cut_off.risk_score:g}", *_cells(cut_off))
    cut_offs.add_section()
    for cut_off in evaluation.cut_offs:
        cut_offs.add_row(f"{cut_off.risk_score:g}", *_cells(cut_off))
    console.print(cut_offs)
    calibration = Table(title="the model's probability, and what was")
    for heading in ("told", "orders", "told on average", "was fraud"):
        calibration.add_column(heading, justify="right")
    for row in evaluation.calibration:
        told = (f"{row['from']:.1%} to {row['to']:.1%}", f"{row['orders']:,}")
        calibration.add_row(*told, f"{row['told']:.2%}", f"{row['was']:.2%}")
    console.print(calibration)


def _cells(cut_off: CutOff) -> tuple[str, ...]:
    precision = cut_off.precision
    return (
        "–" if precision is None else f"{precision:.1%}",
        f"{cut_off.recall:.1%}",
        f"{cut_off.stopped_share:.2%}",
        f"{cut_off.true_positives:,}",
        f"{cut_off.false_positives:,}",
        f"{cut_off.false_negatives:,}",
    )
