"""`import` and `export`: rankings from and for other tools."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from labeling.commands import Parser, command, console, home_option
from labeling.exchange import FORMATS, WRITABLE, Columns, read, write
from labeling.records import Ranking

IMPORT = """\
Rankings from other tools, as JSON lines that the pipeline takes: labeling=file labeling.path=rankings.jsonl.

  import FILE --to rankings.jsonl
  import --dataset NAME --workspace WS --to rankings.jsonl --prompt-field prompt --response-fields a,b,c

FILE holds rankings (JSON lines), a wide table (a row per prompt and annotator: response_1, rank_1, response_2, …), a
long table (a row per prompt, annotator and response: response, rank), or Label Studio's JSON export (Ranker or
Pairwise). Its format is found out from the content. With --dataset, a dataset on an Argilla server is read, with its
exact ranks and ties: on the server of --home, or on the one that ARGILLA_API_URL and ARGILLA_API_KEY name. All faults
are reported at once, and then nothing is written.
"""
EXPORT = """\
Rankings for other tools: `wide` has a row per prompt and annotator, `long` one per prompt, annotator and response.
Importing it again gives the same rankings, comments included.

Tables are CSV in UTF-8. A text that a spreadsheet would run as a formula (=, +, -, @ at its beginning) gets an
apostrophe before it; `import` takes it away again.
"""
SUFFIXES = {".csv": "wide", ".jsonl": "rankings"}


def import_(arguments: Sequence[str]) -> int:
    options = _import_options(arguments)
    columns = Columns(
        id=options.id_field,
        prompt=options.prompt_field,
        responses=_names(options.response_fields),
        ranks=_names(options.rank_fields),
        annotator=options.annotator_field,
        comment=options.comment_field,
        buckets=_names(options.buckets),
        tie=options.tie,
    )
    rankings = _from_server(options, columns) if options.dataset else read(options.source, options.format, columns)
    write(options.to, rankings, "rankings", options.overwrite)
    _say(options.to, rankings)
    return 0


def export(arguments: Sequence[str]) -> int:
    parser = command("export", EXPORT)
    parser.add_argument(
        "rankings", type=Path, metavar="RANKINGS", help="rankings.jsonl, as `collect` and `import` write"
    )
    parser.add_argument("--format", choices=WRITABLE, help="by the name of FILE, if absent: .csv is wide")
    _to(parser)
    options = parser.parse_args(arguments)
    form = options.format or SUFFIXES.get(options.to.suffix.lower())
    if form is None:
        parser.error(f"the name {options.to} does not say the format; give --format {'|'.join(WRITABLE)}")
    rankings = read(options.rankings, "rankings")
    write(options.to, rankings, form, options.overwrite)
    _say(options.to, rankings)
    return 0


def _import_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command("import", IMPORT)
    parser.add_argument("source", nargs="?", type=Path, metavar="FILE")
    parser.add_argument("--format", choices=FORMATS, help="found out from the content, if absent")
    _to(parser)
    server = parser.add_argument_group("from an Argilla server")
    server.add_argument("--dataset", metavar="NAME")
    server.add_argument("--workspace", metavar="WS")
    server.add_argument("--question", metavar="NAME", help="the ranking question, if there are several")
    home_option(parser)
    fields = parser.add_argument_group("what the fields are called")
    fields.add_argument("--id-field", metavar="NAME")
    fields.add_argument("--prompt-field", metavar="NAME")
    fields.add_argument("--response-fields", metavar="A,B,…", help="one per response (long table, Label Studio: one)")
    fields.add_argument("--rank-fields", metavar="A,B,…", help="one per response, in the same order (long table: one)")
    fields.add_argument("--annotator-field", metavar="NAME")
    fields.add_argument("--comment-field", metavar="NAME", help="in Argilla, a question")
    fields.add_argument("--buckets", metavar="A,B,…", help="Label Studio's Ranker: best first; one bucket is a tie")
    fields.add_argument("--tie", metavar="CHOICE", help="Label Studio: the choice that says that both are equal")
    options = parser.parse_args(arguments)
    if (options.source is None) == (options.dataset is None):
        parser.error("either FILE or --dataset NAME")
    if (options.dataset is None) != (options.workspace is None):
        parser.error("--dataset and --workspace go together")
    return options


def _from_server(options: argparse.Namespace, columns: Columns) -> list[Ranking]:
    from labeling.commands.users import server
    from labeling.exchange.argilla_datasets import import_dataset

    connection, _ = server(options.home)
    found = import_dataset(connection, options.workspace, options.dataset, options.question, columns)
    if found.discarded or found.drafts:
        console.print(f"Left out    {found.discarded:,} discarded answers, {found.drafts:,} drafts")
    return found.rankings


def _to(parser: Parser) -> None:
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="where to write")
    parser.add_argument("--overwrite", action="store_true", help="even if that file exists")


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip()) if listed else ()


def _say(target: Path, rankings: Sequence[Ranking]) -> None:
    answers = [given for ranking in rankings for given in ranking["rankings"]]
    people = len({given["annotator"] for given in answers})
    console.print(
        f"{len(answers):,} rankings of {len(rankings):,} prompts by {people:,} annotators  {escape(str(target))}"
    )
