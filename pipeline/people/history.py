"""What people have said in a project so far: rankings and reviews outlive the models whose answers they are about."""

from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.stage import Stage
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


@dataclass(frozen=True)
class Collection:
    """The newest collection of one round: its version, that of what was asked about, and whether everybody answered."""

    version: str
    about: str
    whole: bool


def collected(store: Store, stage: Stage) -> dict[str, Collection]:
    """By the version of what was asked about, the newest collection last.

    What simulated annotators said, and what nobody was asked about, is no people's.
    """
    found: dict[str, Collection] = {}
    for version in store.versions(stage.name):
        try:
            manifest = store.read_manifest(stage.name, version)
        except PipelineError:  # its damage is said when it is used
            continue
        about, metrics = manifest["inputs"].get(stage.about, {}).get("version"), manifest["metrics"]
        if about and "complete" in metrics and not metrics.get("simulated"):
            found.pop(about, None)
            found[about] = Collection(version, about, metrics["complete"] == 1)
    return found


def reused_text(store: Store, stage: Stage, collection: Collection, *, again: bool = False) -> str:
    """Whose answers this is about, where what the request itself would ask about has not been made."""
    about = store.open(stage.name, collection.version).inputs.get(stage.about)
    authors = ", ".join(_authors(about)) if about else ""
    text = (AGAIN if again else REUSED)[stage.name]
    return text.format(authors=authors or "policies that are gone")


def _authors(about: Artifact) -> list[str]:
    """The policies, or the model behind an endpoint, that wrote it, as far as their lineage is still there."""
    made = about.inputs.get("sample", about)
    writers = [given for role, given in made.manifest["inputs"].items() if role not in NO_AUTHORS]
    model = made.manifest["config"].get("model")
    return [*(f"{given['stage']} {given['version'][:4]}" for given in writers), *([model] if model else [])]
