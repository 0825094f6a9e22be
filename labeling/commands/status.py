"""The command `status`: the state of the server, and each annotator's progress in each data set."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from labeling.commands import command, console, home_option, is_remote
from labeling.server import DEFAULT_HOME, Connection, remote, running, snapshots
from labeling.server.accounts import checked, session

ABOUT = """\
Shows the server and its data sets: complete records, and each annotator's submitted, discarded and draft answers.
Also copies the answers into their projects, as the server's supervisor does every two minutes. `--follow` repeats
until Ctrl-C.
"""
SECONDS = 2.0


def status(arguments: Sequence[str]) -> int:
    parser = command("status", ABOUT)
    home_option(parser)
    parser.add_argument("--follow", action="store_true", help="repeat every two seconds")
    options = parser.parse_args(arguments)
    seen: dict[str, str] = {}
    if not options.follow:
        console.print(_view(options.home, seen))
        return 0
    with Live(_view(options.home, seen), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(SECONDS)
            live.update(_view(options.home, seen), refresh=True)


def _view(home: Path | None, seen: dict[str, str]) -> Group:
    """Copy the answers that are new (see `snapshots.take`), and return what there is to show."""
    place = home or DEFAULT_HOME
    connection = remote() if is_remote(home) else running(place)
    if connection is None:
        start = f"python -m labeling serve --detach{'' if place == DEFAULT_HOME else f' --home {place}'}"
        return Group(Text(f"down   {place}"), Text(f"Start  {start}"))
    datasets = _datasets(connection)
    up = Text(f"up     {connection.url}", style="green")
    copies = snapshots.take(connection, place, seen)
    lines = [Text(f"copies {count:,} answers in {folder}") for folder, count in sorted(copies.items())]
    return Group(up, *lines, _table(datasets) if datasets else Text("No data sets yet."))


def _datasets(connection: Connection) -> list[dict[str, Any]]:
    """Return name, workspace, records (completed, total) and annotators' counts of each data set."""
    with session(connection) as client:
        workspaces = {place["id"]: place["name"] for place in checked(client.get("/me/workspaces"))["items"]}
        found = []
        for dataset in checked(client.get("/me/datasets"))["items"]:
            path = f"/datasets/{dataset['id']}"
            progress = checked(client.get(f"{path}/progress"))
            people = {
                person["username"]: _counts(person) for person in checked(client.get(f"{path}/users/progress"))["users"]
            }
            for member in checked(client.get(f"/workspaces/{dataset['workspace_id']}/users"))["items"]:
                if member["role"] == "annotator":
                    people.setdefault(member["username"], _counts({}))
            found.append(
                {
                    "name": dataset["name"],
                    "workspace": workspaces.get(dataset["workspace_id"], "?"),
                    "completed": progress["completed"],
                    "total": progress["total"],
                    "people": people,
                }
            )
        return found


def _counts(person: dict[str, Any]) -> tuple[int, int, int]:
    """Return (submitted, discarded, drafts) over open and completed records, which Argilla counts separately."""
    parts = [person.get("completed", {}), person.get("pending", {})]
    submitted, discarded, drafts = (
        sum(part.get(status, 0) for part in parts) for status in ("submitted", "discarded", "draft")
    )
    return submitted, discarded, drafts


def _table(datasets: list[dict[str, Any]]) -> Table:
    table = Table("data set", "annotator", box=None, pad_edge=False)
    for heading in ("submitted", "discarded", "drafts"):
        table.add_column(heading, justify="right")
    for dataset in datasets:
        done = f"{dataset['completed']:,} of {dataset['total']:,} complete"
        table.add_row(f"[bold]{escape(dataset['workspace'])} / {escape(dataset['name'])}[/]", done)
        for name, counts in sorted(dataset["people"].items()):
            table.add_row("", escape(name), *(f"{count:,}" if count else "-" for count in counts))
    return table
