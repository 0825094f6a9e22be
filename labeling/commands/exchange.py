"""The commands `import` and `export`: convert rankings from and for other tools."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from labeling.codes import CHOICES
from labeling.commands import Parser, command, console, home_option
from labeling.exchange import FORMS, WRITABLE, Columns, Outcome, read, write
from labeling.exchange.files import refuse_existing, write_text
from labeling.exchange.outcome import MAX_BAD_FRACTION, reason_lines
from labeling.records import Ranking
from labeling.votes import is_unnamed, prompt_key

IMPORT = """\
Converts rankings from other tools to JSON lines for the pipeline: labeling=file labeling.path=rankings.jsonl.

  import FILE… --to rankings.jsonl
  import --dataset NAME --workspace WS --to rankings.jsonl --prompt-field prompt --response-fields a,b,c

FILE, or each file in a folder, holds rankings (JSON lines), a wide table (a row per prompt and annotator: response_1,
rank_1 or score_1, response_2, …), rows with lists of responses and ranks, a long table (a row per prompt, annotator and
response: response, rank), pairs (response_a, response_b, preference; also MTurk's batches), or an export of Label
Studio (Ranker, Pairwise, Choices; JSON, JSON-MIN, CSV). The format is detected from the content. With --dataset, a
dataset on an Argilla server is read, with exact ranks and ties: on the server of --home, or on the one that
ARGILLA_API_URL and ARGILLA_API_KEY name.

Votes on the same prompt and responses become one ranking, in any order and from any file. Unusable rows are left out,
counted, and listed in a ledger beside the output. If there are too many of them, nothing is written.
"""
EXPORT = """\
Converts rankings for other tools: `wide` has a row per prompt and annotator, `long` one per prompt, annotator and
response. Importing the result gives the same rankings, comments included.

Tables are CSV in UTF-8. A text that a spreadsheet would run as a formula (starting with =, +, - or @) gets an
apostrophe in front; `import` removes it.

With --datasheet, FILE (.html or .md) gets a datasheet instead: who, how many, guidelines and their versions,
agreement, ties, known limits, with a paragraph and a LaTeX table for a paper. It also takes a project
(outputs/PROJECT) in place of RANKINGS: then it knows the guidelines' texts, repeats, gold and times.
"""
SUFFIXES = {".csv": "wide", ".jsonl": "rankings"}


def import_(arguments: Sequence[str]) -> int:
    options = _import_options(arguments)
    columns = Columns(
        id=options.id_field,
        prompt=options.prompt_field,
        responses=_names(options.response_fields),
        ranks=_names(options.rank_fields),
        scale=options.scale,
        annotator=options.annotator_field,
        comment=options.comment_field,
        choice=options.choice_field,
        codes=options.choices or {},
        buckets=_names(options.buckets),
        tie=options.tie,
    )
    outcome = _outcome(options, columns)
    write(options.to, outcome.rankings, "rankings", options.overwrite)
    _explain(outcome)
    _count(options.to, outcome.rankings)
    _write_ledger(outcome, options.to.with_suffix(".ledger.jsonl"))
    return 0


def export(arguments: Sequence[str]) -> int:
    parser = command("export", EXPORT)
    parser.add_argument("rankings", metavar="RANKINGS", help="rankings.jsonl, as written by `collect` and `import`")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--format", choices=WRITABLE, help="default: from the name of FILE; .csv is wide")
    kind.add_argument("--datasheet", action="store_true", help="write a datasheet, .html or .md")
    _to(parser)
    home_option(parser)
    options = parser.parse_args(arguments)
    if options.datasheet:
        return _write_datasheet(parser, options)
    form = options.format or SUFFIXES.get(options.to.suffix.lower())
    if form is None:
        parser.error(f"the name {options.to} does not show the format; give --format {'|'.join(WRITABLE)}")
    rankings = read(Path(options.rankings), "rankings", on_bad_row="error").rankings
    write(options.to, rankings, form, options.overwrite)
    _count(options.to, rankings)
    return 0


def _write_datasheet(parser: Parser, options: argparse.Namespace) -> int:
    from labeling.commands.sources import facts_of
    from labeling.report.datasheet import FORMS, render

    suffix = options.to.suffix.lower()
    if suffix not in FORMS:
        parser.error(f"--datasheet --to {options.to}: its name ends with {' or '.join(FORMS)}")
    refuse_existing(options.to, options.overwrite)
    facts = facts_of(options.rankings, options.home)
    write_text(options.to, render(facts, suffix))
    console.print(f"Datasheet of {facts.judged:,} rankings  {escape(str(options.to))}")
    return 0


def _import_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command("import", IMPORT)
    parser.add_argument("sources", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--format", choices=FORMS, help="default: detected from the content")
    _to(parser)
    parser.add_argument("--on-bad-row", choices=("drop", "error"), default="drop", help="default: %(default)s")
    most = "largest share of rows that may be left out (%(default)s)"
    parser.add_argument("--max-bad-fraction", type=_fraction, default=MAX_BAD_FRACTION, metavar="SHARE", help=most)
    server = parser.add_argument_group("from an Argilla server")
    server.add_argument("--dataset", metavar="NAME")
    server.add_argument("--workspace", metavar="WS")
    server.add_argument("--question", metavar="NAME", help="the ranking question, if there are several")
    home_option(parser)
    fields = parser.add_argument_group("names of fields")
    fields.add_argument("--id-field", metavar="NAME")
    fields.add_argument("--prompt-field", metavar="NAME")
    fields.add_argument("--response-fields", metavar="A,B,…", help="one per response (long table, Label Studio: one)")
    fields.add_argument("--rank-fields", metavar="A,B,…", help="one per response, in the same order (long table: one)")
    scale = fields.add_mutually_exclusive_group()
    scale.add_argument("--ranks", dest="scale", action="store_const", const="ranks", help="1 is best")
    scale.add_argument("--scores", dest="scale", action="store_const", const="scores", help="the highest is best")
    fields.add_argument("--annotator-field", metavar="NAME")
    fields.add_argument("--comment-field", metavar="NAME", help="in Argilla, a question")
    fields.add_argument("--choice-field", metavar="NAME", help="pairs: the better response")
    fields.add_argument(
        "--choices", metavar="VALUE=first,…", type=_codes, help="pairs: meanings of values (second, tie)"
    )
    fields.add_argument("--buckets", metavar="A,B,…", help="Label Studio's Ranker: best first; one bucket is a tie")
    fields.add_argument("--tie", metavar="CHOICE", help="Label Studio: the choice for equal responses")
    options = parser.parse_args(arguments)
    if bool(options.sources) == bool(options.dataset):
        parser.error("either FILE or --dataset NAME")
    if (options.dataset is None) != (options.workspace is None):
        parser.error("--dataset and --workspace go together")
    written_to = options.to.resolve().parent
    if any(source.is_dir() and source.resolve() == written_to for source in options.sources):
        parser.error("--to is in the input folder and would be read by the next import: choose another folder")
    return options


def _outcome(options: argparse.Namespace, columns: Columns) -> Outcome:
    limits = {"on_bad_row": options.on_bad_row, "max_bad_fraction": options.max_bad_fraction}
    if not options.dataset:
        return read(options.sources, options.format, columns, **limits)
    from labeling.commands.users import server
    from labeling.exchange.argilla_datasets import import_dataset

    connection, _ = server(options.home)
    return import_dataset(connection, options.workspace, options.dataset, options.question, columns, **limits)


def _to(parser: Parser) -> None:
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="output file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip()) if listed else ()


def _codes(listed: str) -> dict[str, str]:
    """Parse 0=first,1=second,2=tie as value -> meaning. Raises `ArgumentTypeError` for an unknown meaning."""
    pairs = [entry.rpartition("=")[::2] for entry in _names(listed)]
    if not pairs or any(not value or meaning.strip() not in CHOICES for value, meaning in pairs):
        raise argparse.ArgumentTypeError(f"write VALUE=MEANING,…; a meaning is one of {', '.join(CHOICES)}")
    return {value.strip(): meaning.strip() for value, meaning in pairs}


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise argparse.ArgumentTypeError(f"write a number from 0 to 1, found {text}")
    return fraction


def _explain(outcome: Outcome) -> None:
    """Print how the files were read, the rows that were left out, and remarks."""
    for sentence in outcome.sentences:
        console.print(escape(sentence))
    for title, faults in (("Unusable", outcome.bad), ("Left out", outcome.left_out)):
        if faults:
            console.print(escape("\n".join([f"{title}  {len(faults):,}", *reason_lines(faults)])))
    for remark in outcome.remarks:
        console.print(escape(remark))


def _write_ledger(outcome: Outcome, path: Path) -> None:
    lines = list(outcome.ledger())
    if lines:
        write_text(path, "".join(lines))
        console.print(f"Ledger of dropped rows  {escape(str(path))}")
    else:
        path.unlink(missing_ok=True)  # the ledger of an earlier import


def _count(target: Path, rankings: Sequence[Ranking]) -> None:
    answers = [given for ranking in rankings for given in ranking["rankings"]]
    people = len({given["annotator"] for given in answers if not is_unnamed(given["annotator"])})
    prompts = len({prompt_key(ranking["prompt"]) for ranking in rankings})
    by = f" by {people:,} annotators" if people else ""
    console.print(f"{len(answers):,} rankings of {prompts:,} prompts{by}  {escape(str(target))}")
