"""`bespoke report`: one page about a program, for whoever wants to see what it comes to."""

import asyncio
import re
from pathlib import Path

import click

from bespoke_workers import settings
from bespoke_workers.errors import Misconfigured
from bespoke_workers.reports.figures import Figures


@click.command()
@click.argument("program")
@click.argument("user", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where to write; - is standard output. Default: report-PROGRAM.html here.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures, for machines.")
def report(program: str, user: str | None, output: Path | None, as_json: bool) -> None:
    """Write a page about a PROGRAM, of one USER or over all: scores, costs, versions in use.

    The page is one HTML file that loads nothing. Users are in it by the hashes that log lines
    have, and no contents are.
    """
    figures = asyncio.run(_figures(settings.load().database(), program, user))
    if as_json:
        text, path = figures.model_dump_json(indent=2) + "\n", output or Path("-")
    else:
        from bespoke_workers.reports.page import page

        text, path = page(figures), output or Path(_name(figures))
    if path == Path("-"):
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{str(path)!r} cannot be written ({error.strerror})") from None
    click.echo(path)


async def _figures(url: str, program: str, user: str | None) -> Figures:
    from bespoke_workers.database.engine import Database
    from bespoke_workers.reports.reports import Reports

    database = Database(url, pool_size=1)
    try:
        return await Reports(database).figures(program, user)
    finally:
        await database.close()


def _name(figures: Figures) -> str:
    """Return a name for the file that any file system takes."""
    parts = ["report", figures.program, *([figures.user] if figures.user else [])]
    return re.sub(r"[^\w.-]+", "-", "-".join(parts)) + ".html"
