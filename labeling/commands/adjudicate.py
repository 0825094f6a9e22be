"""The command `adjudicate`: puts prompts on which annotators stay divided before one person."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from labeling.adjudication import divided
from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.client import Client
from labeling.backend import ADJUDICATION, LabelingError, Queue, Round, adjudication_of, is_adjudication
from labeling.backends import COPIES
from labeling.commands import command, console
from labeling.commands.sources import found_source, fresh_project, project_argument
from labeling.commands.status import datasets
from labeling.commands.users import server
from labeling.projects import AnsweredRound, Project
from labeling.questions import split_by_size
from labeling.server import Connection, address, snapshots

ABOUT = """\
Queues the prompts on which annotators stay divided for one person, such as the lead, who sees all opinions with their
comments and ranks the answers. Divided: some pair of answers has as many votes for the one as for the other, and the
prompt has all its answers (the upper number of labeling.overlap=2..4). Repeats and gold are left out.

  adjudicate outputs/support --by lead

The decision counts as one more opinion, under the person's name, from the next `stage=collect` on; all others are kept.
The person is a further annotator with an account and an invitation, in a workspace that no other annotator sees, and
must not have ranked these prompts before. Run it again for prompts that have become divided since.
"""


def adjudicate(arguments: Sequence[str]) -> int:
    parser = command("adjudicate", ABOUT)
    project_argument(parser, or_file=False)
    parser.add_argument("--by", required=True, metavar="NAME", help="who decides: a pseudonym, kept with the rankings")
    options = parser.parse_args(arguments)
    connection, home = server(options.home)
    folder = found_source(options.source, options.home)
    project = fresh_project(folder, options.home)
    backend = ArgillaBackend(connection, lambda remark: console.print(escape(remark)), home, folder / COPIES)
    rounds, waiting = _rounds(project, connection, folder / COPIES, options.by)
    added = sum(backend.publish(asked) for asked in rounds)
    if waiting:
        console.print(f"Divided, but still without all their opinions, and not queued yet: {waiting:,}")
    if not added:
        console.print("No further prompt is left to adjudicate.")
        return 0
    invited = backend.add_annotators([options.by], project.name + ADJUDICATION)
    count = "1 prompt is" if added == 1 else f"{added:,} prompts are"
    console.print(f"{count} queued for {escape(options.by)} at {address(home, connection)}")
    for name in invited:
        console.print(f"Invitation  {escape(str(Path(home) / 'invitations' / f'{name}.txt'))}")
    console.print(f"Then        python -m pipeline project={escape(project.name)} stage=collect")
    return 0


def _rounds(project: Project, connection: Connection, copies: Path, by: str) -> tuple[list[Round], int]:
    """Return the rounds to publish, and the number of divided prompts that wait for another opinion.

    Raises `LabelingError` (request) if the person has ranked one of the prompts.
    """
    found = datasets(connection)
    highest = {one["name"]: one["highest"] for one in found if one["workspace"] == project.name}
    known = _queued(connection, project.name + ADJUDICATION)
    rounds, waiting = [], 0
    for asked in project.of_kind("publish"):
        came = len({answer["annotator"] for answer in asked.answers} - {by})
        others = min((highest[name] for name in asked.queues if name in highest), default=1)
        everybody = max((highest[name] for name in asked.queues if name in highest), default=1)
        needed = {task["id"]: min(everybody if task["id"] in asked.everybody else others, came) for task in asked.tasks}
        name = adjudication_of(asked.queues[0])
        decided = {
            copy["task"] for queue in asked.queues if is_adjudication(queue) for copy in snapshots.read(copies, queue)
        }
        left = divided(asked, needed, known.get(name, set()) | decided)
        waiting += left.waiting
        if left.tasks:
            _refuse_own(asked, {task["id"] for task in left.tasks}, by)
            queues = split_by_size(Queue(name, left.tasks, 1))
            rounds.append(Round(project.name + ADJUDICATION, asked.question, asked.guidelines, queues))
    return rounds, waiting


def _queued(connection: Connection, workspace: str) -> dict[str, set[str]]:
    """Return queue -> ids of the tasks that are there already; parts of a queue count as one."""
    client, found = Client(connection), dict[str, set[str]]()
    try:
        place = client.workspaces().get(workspace)
        for dataset in client.get("/me/datasets", "list data sets", workspace_id=place)["items"] if place else ():
            own = found.setdefault(adjudication_of(dataset["name"]), set())
            own |= {record["external_id"] for record in client.records(dataset)}
    finally:
        client.close()
    return found


def _refuse_own(asked: AnsweredRound, tasks: set[str], by: str) -> None:
    own = sum(answer["annotator"] == by and answer["task"] in tasks for answer in asked.answers)
    if own:
        raise LabelingError(
            f"{by} has ranked {own:,} of these prompts. Name a person who has not: their decision is one more opinion.",
            fault="request",
        )
