"""People's earlier answers in a project. Rankings and reviews are kept when the models that they are about change."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.store.artifact import MODELS, Artifact
from pipeline.store.artifacts import Store

ANSWERED = (
    "rankings",
    "judgements",
    "discarded",
    "accepted",
    "corrected",
    "rejected",
)  # metrics that count people's answers


@dataclass(frozen=True)
class Collection:
    """People's answers to one round: their version, the version of the input that they are about, and their number."""

    version: str
    about: str
    whole: bool  # whether all tasks are answered
    answers: int
    overlap: int | str | None = None  # answers that a task needed, as in labeling.overlap; None: not recorded


def collections(store: Store, stage: str, about: str) -> dict[str, Collection]:
    """Map the version of the input `about` to the collection used for that round, the newest round last.

    Of several collections of a round, the one with the most answers is used, and of equal ones the newest: a later
    one may have more or corrected answers, but a server that lost answers must not replace an earlier collection.
    Skips simulated rounds and rounds without questions. Raises `PipelineError` for a damaged collection: without it,
    people would be asked again, or the rest would be used as if it were complete.
    """
    found: dict[str, Collection] = {}
    for version in store.versions(stage):
        try:
            manifest = store.read_manifest(stage, version)
        except PipelineError as error:
            raise PipelineError(f"{error} It may hold people's answers: without it they are asked again.") from None
        asked, metrics = manifest["inputs"].get(about, {}).get("version"), manifest["metrics"]
        if not asked or "complete" not in metrics or metrics.get("simulated"):
            continue
        new = Collection(version, asked, metrics["complete"] == 1, _answers(metrics), manifest["config"].get("overlap"))
        old = found.get(asked)
        if old is None or (new.whole, new.answers) >= (old.whole, old.answers):
            found.pop(asked, None)
            found[asked] = new
    return found


def _answers(metrics: Mapping[str, float]) -> int:
    return int(sum(metrics.get(name, 0) for name in ANSWERED))


def authors(asked: Artifact | None, writers: Container[str]) -> str:
    """Return the names of the policies or the model that wrote the answers in `asked`, for messages.

    `writers` are the names of the stages that make models which write answers.
    """
    found = _authors(asked, writers) if asked else []
    return ", ".join(found) or "policies that are gone"


def _authors(about: Artifact, writers: Container[str]) -> list[str]:
    """Return the policies in the manifest, and the model behind an endpoint, that wrote the answers."""
    made = about.inputs.get("sample", about)
    inputs = made.manifest["inputs"].values()
    wrote = [given for given in inputs if given["stage"] in writers or given["stage"] in MODELS]
    model = made.manifest["config"].get("model")
    return [*(f"{given['stage']} {given['version'][:4]}" for given in wrote), *([model] if model else [])]
