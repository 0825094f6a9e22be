"""What people have said in a project so far: rankings and reviews outlive the models whose answers they are about."""

from dataclasses import dataclass

from pipeline.errors import PipelineError
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


def collections(store: Store, stage: str, about: str) -> dict[str, Collection]:
    """The collections of people's answers by the version of the input `about`, the newest last.

    Skips simulated rounds and rounds without questions.
    """
    found: dict[str, Collection] = {}
    for version in store.versions(stage):
        try:
            manifest = store.read_manifest(stage, version)
        except PipelineError:  # its damage is said when it is used
            continue
        asked, metrics = manifest["inputs"].get(about, {}).get("version"), manifest["metrics"]
        if asked and "complete" in metrics and not metrics.get("simulated"):
            found.pop(asked, None)
            found[asked] = Collection(version, asked, metrics["complete"] == 1)
    return found


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
