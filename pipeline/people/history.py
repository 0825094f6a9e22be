"""What people have answered in a project so far: rankings and reviews outlive the models that they are about."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.store.artifacts import MODELS, Artifact, Store

ANSWERED = ("rankings", "discarded", "accepted", "corrected", "rejected")  # metrics that count people's answers


@dataclass(frozen=True)
class Collection:
    """What people have answered of one round: its version, that of what was asked about, and how much of it."""

    version: str
    about: str
    whole: bool  # whether everything that was asked is answered
    answers: int


def collections(store: Store, stage: str, about: str) -> dict[str, Collection]:
    """The collection that counts for each round, by the version of the input `about`; the newest round last.

    Of several collections of one round the one with the most answers counts, and of equal ones the newest: looking
    again may find more or corrected answers, and a server that lost some does not replace what was collected before.
    Skips simulated rounds and rounds without questions. Raises `PipelineError` for a collection that is damaged:
    people would be asked again, or the rest would be taken for all that they said.
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
        new = Collection(version, asked, metrics["complete"] == 1, _answers(metrics))
        old = found.get(asked)
        if old is None or (new.whole, new.answers) >= (old.whole, old.answers):
            found.pop(asked, None)
            found[asked] = new
    return found


def _answers(metrics: Mapping[str, float]) -> int:
    return int(sum(metrics.get(name, 0) for name in ANSWERED))


def authors(asked: Artifact | None, writers: Container[str]) -> str:
    """Who wrote what people were asked about, where the request's own has not been made; `writers` are stages."""
    found = _authors(asked, writers) if asked else []
    return ", ".join(found) or "policies that are gone"


def _authors(about: Artifact, writers: Container[str]) -> list[str]:
    """The policies, or the model behind an endpoint, that wrote it, as far as their lineage is still there."""
    made = about.inputs.get("sample", about)
    inputs = made.manifest["inputs"].values()
    wrote = [given for given in inputs if given["stage"] in writers or given["stage"] in MODELS]
    model = made.manifest["config"].get("model")
    return [*(f"{given['stage']} {given['version'][:4]}" for given in wrote), *([model] if model else [])]
