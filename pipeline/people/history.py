"""What people have answered in a project so far: rankings and reviews outlive the models that they are about."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.store.artifacts import Artifact, Store

REUSED = {  # where another stage needs it
    "collect": "ranked before, answers of {authors}: nobody is asked again (`stage=publish` asks about new answers)",
    "synthesize": "reviewed before, drafts of {authors}: nobody is asked again (`stage=draft` writes new ones)",
}
AGAIN = {  # where the stage itself is asked for
    "collect": "looking again at the answers of {authors} (`stage=publish` asks about new answers)",
    "synthesize": "looking again at the drafts of {authors} (`stage=draft` writes new ones)",
}
NO_AUTHORS = ("data", "sample", "gold", "guidelines", "prompts")  # inputs that write no answers


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
        manifest = store.read_manifest(stage, version)
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


def reused_text(store: Store, stage: str, about: str, collection: Collection, *, again: bool = False) -> str:
    """Whose answers this is about, where what the request itself would ask about has not been made."""
    asked = store.open(stage, collection.version).inputs.get(about)
    authors = ", ".join(_authors(asked)) if asked else ""
    text = (AGAIN if again else REUSED)[stage]
    return text.format(authors=authors or "policies that are gone")


def _authors(about: Artifact) -> list[str]:
    """The policies, or the model behind an endpoint, that wrote it, as far as their lineage is still there."""
    made = about.inputs.get("sample", about)
    writers = [given for role, given in made.manifest["inputs"].items() if role not in NO_AUTHORS]
    model = made.manifest["config"].get("model")
    return [*(f"{given['stage']} {given['version'][:4]}" for given in writers), *([model] if model else [])]
