"""The command line: open a shop, hold a sale, prove what was sold.

`doorbuster --help` lists the commands. Logs go to stderr; `--json` prints exactly one JSON
document on stdout, or into the file that follows it. The exit status is 0 only if the command
did what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import structlog
import typer
from rich.console import Console
from rich.markup import escape

app = typer.Typer(
    name="doorbuster",
    help="Actor-based, high-throughput inventory and checkout engine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_errors = Console(stderr=True)
_STDOUT = "-"
_NO_VERDICT = 2
"""Exit status of an audit that could not be made, as of any command that is not well asked for."""

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the shop's data and logs. [default: .doorbuster]"),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65_535, help="HTTP port of the shop. [default: 8000]"),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="One JSON document on stdout, or in FILE."),
]


def _settings(home: Path | None = None, port: int | None = None) -> Any:
    from pydantic import ValidationError

    from serve_apps.settings import Settings

    given: dict[str, Any] = {"home": home, "port": port}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        _fail(
            f"DOORBUSTER_{name}: {first['msg'].removeprefix('Value error, ')} (it is {first['input']!r})"
        )


def _fail(message: str) -> NoReturn:
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _print_json(document: Any, where: str) -> None:
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if where == _STDOUT:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return
    try:
        Path(where).write_bytes(text)
    except OSError as error:
        _fail(f"cannot write {where}: {error.strerror}")


def _guarded(work: Callable[[], Any]) -> Any:
    """`work`'s result; what a user can mend is told in one line instead of a traceback."""
    import asyncpg
    from redis.exceptions import RedisError

    from domain.ports import Misconfigured, Unavailable
    from serve_apps.supervisor import AlreadyRunningError, NotReadyError, NotRunningError
    from sim.sale import SaleNotPossibleError
    from storage.embedded import ServerStartError
    from storage.postgres import MigrationError

    told = (AlreadyRunningError, NotReadyError, NotRunningError, ServerStartError)
    told += (MigrationError, SaleNotPossibleError, RedisError, asyncpg.PostgresError)
    told += (Unavailable, Misconfigured)
    try:
        return work()
    except (*told, OSError, ValueError, RuntimeError) as error:
        _fail(str(error) or type(error).__name__)


@app.command()
def up(
    home: Home = None,
    port: Port = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the shop is ready.")
    ] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="Leave an empty catalog empty; no sample products.")
    ] = False,
) -> None:
    """Open the shop: databases, actors, HTTP. Runs until Ctrl-C, or in the background.

    A new shop on embedded databases gets a sample catalog unless --empty is given.
    """
    settings = _settings(home, port)
    if settings.fraud_policy or settings.fraud_model:
        from storage.fraud_files import load_scoring

        _guarded(lambda: load_scoring(settings.fraud_policy, settings.fraud_model))
    if detach:
        from serve_apps.shop_process import start_detached

        run = _guarded(lambda: start_detached(settings, empty=empty))
        _tell_addresses(run.base_url)
        return
    _guarded(lambda: _run_in_foreground(settings, empty=empty))


def _run_in_foreground(settings: Any, *, empty: bool) -> None:
    import threading

    from serve_apps.supervisor import READY_TIMEOUT_S, NotReadyError, Supervisor, wait_until_ready

    def prepare(filled: Any) -> None:
        from serve_apps.shop_process import seal_what_is_clear

        if sealed := asyncio.run(seal_what_is_clear(filled)):
            _errors.print(f"sealed the addresses of {sealed:,} orders that stood in the clear")
        if empty or not settings.embedded_database():
            return
        from serve_apps.shop_process import add_sample_if_empty

        if added := asyncio.run(add_sample_if_empty(filled)):
            _errors.print(f"filled the empty catalog with {added:,} sample products")

    supervisor = Supervisor(settings, prepare=prepare)
    stopped = threading.Event()

    def stop(*_: Any) -> None:
        stopped.set()
        supervisor.stop()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)

    def announce() -> None:
        try:
            alive = lambda: not stopped.is_set()  # noqa: E731
            run = wait_until_ready(settings.home, alive=alive, timeout_s=READY_TIMEOUT_S)
        except NotReadyError as error:
            if not stopped.is_set():
                _errors.print(f"[yellow]{escape(str(error))}[/]; still trying")
            return
        _tell_addresses(run.base_url)
        _errors.print("Ctrl-C stops it.")

    _errors.print(f"opening the shop in {settings.home} …", highlight=False)
    threading.Thread(target=announce, daemon=True).start()
    try:
        supervisor.run()
    finally:
        stopped.set()


def _tell_addresses(base_url: str) -> None:
    for what, path in {"shop": "/", "dashboard": "/dashboard", "API": "/docs"}.items():
        _errors.print(f"{what:<10} {base_url}{path}", highlight=False)


@app.command()
def down(home: Home = None, port: Port = None) -> None:
    """Stop the shop that runs in the background. The home names it; --port may be given too."""
    from serve_apps.supervisor import stop_shop

    settings = _settings(home, port)
    _guarded(lambda: stop_shop(settings.home))
    _errors.print(f"the shop in {settings.home} has stopped", highlight=False)


@app.command()
def status(home: Home = None, port: Port = None, json: Json = None) -> None:
    """Say whether the shop runs and which of its parts are ready. Exit status 1 if not."""
    import httpx

    from serve_apps.supervisor import read_run_file

    settings = _settings(home, port)
    run = read_run_file(settings.home)
    document: dict[str, Any] = {"running": run is not None, "ready": False, "parts": {}}
    if run is not None:
        document |= {"url": run.base_url, "pid": run.pid}
        try:
            answer = httpx.get(f"{run.base_url}/readyz", timeout=10)
            document["parts"] = answer.json().get("parts", {})
            document["ready"] = answer.status_code == 200
        except (httpx.HTTPError, ValueError) as error:
            document["parts"] = {"http": f"no answer: {type(error).__name__}"}
    if json is not None:
        _print_json(document, json)
    else:
        _show_status(settings.home, document)
    raise typer.Exit(0 if document["ready"] else 1)


def _show_status(home: Path, document: dict[str, Any]) -> None:
    console = Console()
    if not document["running"]:
        console.print(f"no shop runs in {home}; `doorbuster up` opens it", highlight=False)
        return
    state = "[green]ready[/]" if document["ready"] else "[red]not ready[/]"
    console.print(f"{document['url']} (pid {document['pid']}): {state}", highlight=False)
    for part, said in document["parts"].items():
        console.print(f"  {part:<16} {escape(said)}", highlight=False)


@app.command()
def demo(
    home: Home = None,
    port: Port = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Sell this Shopify export instead of the sample catalog.")
    ] = None,
    buyers: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Buyers after the hot SKU.")
    ] = 2_000,
    stock: Annotated[int, typer.Option(min=0, max=1_000_000, help="Units of it.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the shoppers' behaviour.")] = 1,
    json: Json = None,
) -> None:
    """Hold a flash sale over HTTP and audit it. Stops what it started."""
    from serve_apps.demo import DemoPlan, run_demo, succeeded

    settings = _settings(home, port)
    plan = DemoPlan(catalog=catalog, buyers=buyers, stock=stock, seed=seed)
    console = _errors if json == _STDOUT else Console()
    report = _guarded(lambda: run_demo(settings, plan, console))
    if json is not None:
        _print_json(report, json)
    if not succeeded(report):
        _fail("the sale did not hold what it promises; see the report")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The file to read.")],
    format: Annotated[str, typer.Option("--format", help="Its format.")] = "shopify-csv",
    home: Home = None,
    port: Port = None,
    json: Json = None,
) -> None:
    """Load a catalog. A bad row skips only itself; a second run changes nothing."""
    from serve_apps.catalog_import import import_catalog
    from serve_apps.composition import open_parts
    from serve_apps.shop_process import databases

    settings = _settings(home, port)
    if not file.is_file():
        _fail(f"there is no file {file}")

    async def load(filled: Any) -> Any:
        async with open_parts(filled, "import") as parts:
            return await import_catalog(parts.pool, file, format=format)

    def work() -> Any:
        with databases(settings) as filled:
            return asyncio.run(load(filled))

    report = _guarded(work)
    if json is not None:
        _print_json(report.as_json(), json)
        return
    console = Console()
    console.print(f"{report.products:,} products, {report.variants:,} variants", highlight=False)
    for rejected in report.rejected:
        console.print(f"  line {rejected.line}: {escape(rejected.reason)}", highlight=False)


@app.command()
def audit(
    home: Home = None,
    port: Port = None,
    acknowledged: Annotated[
        Path | None,
        typer.Option(help="A file of order ids that buyers were told of, one per line (P10)."),
    ] = None,
    json: Json = None,
) -> None:
    """Check the promises P1 to P10 against Postgres, the provider and the bus.

    Exit status 1 if any fails, 2 if the audit could not be made.
    """
    with _no_verdict():
        report = _audited(home, port, acknowledged)
        if json is not None:
            _print_json(report, json)
        else:
            from sim.sale_screen import render_audit

            Console().print(render_audit(report))
    raise typer.Exit(0 if report["ok"] else 1)


@contextlib.contextmanager
def _no_verdict() -> Iterator[None]:
    """Makes a failure another exit status than that of a broken promise."""
    try:
        yield
    except typer.Exit:
        raise typer.Exit(_NO_VERDICT) from None


def _audited(home: Path | None, port: int | None, acknowledged: Path | None) -> Any:
    from domain import ids
    from serve_apps.composition import open_parts
    from serve_apps.shop_process import audit_shop, databases, has_data, no_shop
    from serve_apps.supervisor import read_run_file

    settings = _settings(home, port)
    if not has_data(settings.home, settings):
        _fail(no_shop(settings.home))

    def told() -> list[Any]:
        lines = acknowledged.read_text().split() if acknowledged else []
        return [ids.decode("order", line) for line in lines]

    async def check(filled: Any, *, settle: bool) -> Any:
        async with open_parts(filled, "audit") as parts:
            return await audit_shop(parts, acknowledged=told(), settle=settle)

    def work() -> Any:
        runs = read_run_file(settings.home) is not None
        with databases(settings) as filled:
            return asyncio.run(check(filled, settle=runs))

    return _guarded(work).as_json()


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="hot-pair, pairs, scale, failover, owners, checkout, payments or fraud."
        ),
    ],
    home: Home = None,
    port: Port = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Per measured point.")] = 5.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer points; for a look, not for the README.")
    ] = False,
    json: Json = None,
) -> None:
    """Measure one figure beside what it is compared with, in one run."""
    from benchmarks.figures import BenchOptions, UnknownBenchmarkError, find_benchmark, render

    settings = _settings(home, port)
    try:
        benchmark = find_benchmark(name)
    except UnknownBenchmarkError as error:
        _fail(str(error))
    options = BenchOptions(
        home=settings.home / "bench", port=settings.port, seconds=seconds, quick=quick
    )
    result = _guarded(lambda: benchmark.run(options))
    if json is not None:
        _print_json(result.as_json(), json)
    else:
        Console().print(render(result))
    if result.audit is not None and not result.audit["ok"]:
        _fail("the audit after the benchmark found violations; see --json")


@app.command()
def simulate(
    seed: Annotated[
        int | None, typer.Option(min=0, help="The first seed. [default: a fresh one, printed]")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=1_000, help="Of sale, per seed.")] = 1.0,
    seeds: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many, from the first on.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes. [default: one per core]")
    ] = None,
    within: Annotated[
        float | None, typer.Option(min=1, help="Begin no other seeds after so many seconds.")
    ] = None,
    mutant: Annotated[str | None, typer.Option(help="With this thing broken.")] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Try every mutant: each must be caught.")
    ] = False,
    json: Json = None,
) -> None:
    """Simulate the stock engine on a day on which everything breaks. Exit 1 on a violation.

    The same seed and hours replay exactly; a failure is told as a short story.
    """
    from sim.simulate_screen import run_and_show

    problem = run_and_show(
        seed=seed,
        hours=hours,
        seeds=seeds,
        workers=workers,
        mutant=mutant,
        mutants=mutants,
        within_s=within,
        console=_errors if json == _STDOUT else Console(),
        print_json=None if json is None else lambda document: _print_json(document, json),
    )
    if problem:
        _fail(problem)


def _json_argument(arguments: list[str]) -> list[str]:
    """`--json` may stand alone or before a file; options with an optional value do not exist.

    What follows it is a file if it ends in `.json`, or if the command takes no argument that
    it could be.
    """
    takes_argument = bool({"import", "bench", "fraud"} & set(arguments[:1]))
    out: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--json":
            following = arguments[position + 1 : position + 2]
            named = bool(following) and not following[0].startswith("-")
            if named and (following[0].endswith(".json") or not takes_argument):
                out.append(argument)
            else:
                out.append("--json=-")
        else:
            out.append(argument)
    return out


# Commands and groups of commands by name. Only the one that is asked for is imported: some bring the whole
# house along, and the other commands start without.
_GROUPS = {
    "stock": ("serve_apps.stock_commands", "stock_app"),
    "keys": ("serve_apps.key_commands", "keys_app"),
    "fraud": ("serve_apps.fraud_commands", "fraud_commands"),
    "promotion": ("serve_apps.pricing_commands", "promotion_app"),
    "rates": ("serve_apps.pricing_commands", "rates_app"),
    "provider": ("serve_apps.provider_commands", "provider"),
    "storm": ("serve_apps.storm_commands", "storm_app"),
    "credit": ("serve_apps.credit_commands", "credit_app"),
    "refund": ("serve_apps.refund_commands", "refund_command"),
    "refunds": ("serve_apps.refund_commands", "refunds_app"),
    "token": ("serve_apps.token_commands", "token_app"),
}


def main() -> None:
    """The entry point."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    arguments = _json_argument(sys.argv[1:])
    for name, (module, attribute) in _GROUPS.items():
        if not arguments or arguments[0] in (name, "--help"):
            commands = getattr(importlib.import_module(module), attribute)
            if isinstance(commands, typer.Typer):
                app.add_typer(commands)
            else:
                app.command(name)(commands)
    app(arguments)


if __name__ == "__main__":
    main()
