"""What people have ranked in a project so far: the collections that outlive the models whose answers they are about."""

from dataclasses import dataclass

from pipeline.artifacts import Store
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Collection:
    """The newest collection of one round: its version, that of what was published, and whether everybody answered."""

    version: str
    published: str
    whole: bool


def collected(store: Store) -> dict[str, Collection]:
    """By the version of what was published, the newest collection last; simulated annotators' are no people's."""
    found: dict[str, Collection] = {}
    for version in store.versions("collect"):
        try:
            manifest = store.read_manifest("collect", version)
        except PipelineError:  # its damage is said when it is used
            continue
        published = manifest["inputs"].get("publish", {}).get("version")
        if published and not manifest["metrics"].get("simulated"):
            found.pop(published, None)
            found[published] = Collection(version, published, manifest["metrics"].get("complete") == 1)
    return found


def reused_text(store: Store, collection: Collection) -> str:
    """Whose answers these rankings are about, where the request's own policies have not been published."""
    authors = ", ".join(_authors(store, collection)) or "policies that are gone"
    return f"ranked before, answers of {authors}: nobody is asked again (`stage=publish` asks about new answers)"


def _authors(store: Store, collection: Collection) -> list[str]:
    """The policies that wrote the ranked answers, as far as their lineage is still there."""
    published = store.open("collect", collection.version).inputs.get("publish")
    sample = published.inputs.get("sample") if published else None
    recorded = sample.manifest["inputs"] if sample else {}
    return [f"{given['stage']} {given['version'][:4]}" for role, given in recorded.items() if role != "data"]
