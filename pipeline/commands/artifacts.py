"""The command `artifacts`: lists, shows, tags, verifies and prunes versions."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from pipeline.commands.request import Parser, find, opened, parser, project, projects, split
from pipeline.commands.wording import age_text, headline, payload_size, size_text
from pipeline.config.names import nearest
from pipeline.config.remembered import key_of
from pipeline.config.schema import stage_names
from pipeline.console import console, seconds_text, time_text
from pipeline.engine.planner import short_version
from pipeline.errors import PipelineError, RequestError
from pipeline.progress import progress
from pipeline.stages import STAGES, data, shard
from pipeline.store.artifacts import MANIFEST, Store
from pipeline.store.pruning import pruning


def artifacts(arguments: Sequence[str]) -> int:
    """Run `artifacts VERB …` on the project's store."""
    words, overrides = split(arguments)
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        raise RequestError(f"artifacts {words[0]}: no such verb. {nearest(words[0], VERBS)}")
    asked = vars(_parser().parse_args(words))
    verb, _ = VERBS[asked.pop("verb")]
    config, store = project(overrides)
    if verb is ls and not any(key_of(text) == "project" for text in overrides):
        return ls_all(Path(config.outputs), store, **asked)
    return verb(store, **asked)


def _parser() -> Parser:
    whole = parser("artifacts", "List and show versions; name, check and delete them.")
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="VERB")
    parsers = {verb: verbs.add_parser(verb, help=about, description=about) for verb, (_, about) in VERBS.items()}
    parsers["ls"].add_argument("stage", nargs="?", metavar="STAGE")
    for verb in ("show", "path", "lineage", "tag"):
        parsers[verb].add_argument("reference", metavar="REF", help="sft, sft@VERSION, sft@TAG, or a version's folder")
    parsers["tag"].add_argument("name", metavar="NAME")
    parsers["verify"].add_argument("reference", metavar="REF", nargs="?")
    parsers["prune"].add_argument("--dry-run", action="store_true", help="only list what would be deleted")
    return whole


# -- reading -------------------------------------------------------------------------------------------------------


def ls_all(outputs: Path, store: Store, stage: str | None) -> int:
    """List the versions of every project, when the command names none. `store` is the default project's."""
    names = projects(outputs)
    having = [name for name in names if stage is None or Store(outputs, name).versions(stage)]
    if not having or names == [store.project]:
        return ls(store, stage)
    for name in having:
        console.print(f"[bold]{name}[/]")
        ls(Store(outputs, name), stage)
    return 0


def ls(store: Store, stage: str | None) -> int:
    """Print one line per version, oldest first, with stages in the order of the chain."""
    there = store.stages()
    known = [name for name in dict.fromkeys([*STAGES, *there]) if name in there]
    if stage and stage not in known:
        if stage not in stage_names():
            raise RequestError(f"{stage}: no such stage. {nearest(stage, stage_names())}")
        store.resolve(stage)  # raises if there is none, with the command to make one
    table = Table(box=None, padding=(0, 2, 0, 1), show_header=False)
    for name in [stage] if stage else known:
        for row in _listed(store, name):
            table.add_row(*row)
    if table.row_count:
        console.print(table, soft_wrap=False)
    else:
        console.print(f"No artifacts in {escape(str(store.root))}. Make some: python -m pipeline")
    return 0


def _listed(store: Store, stage: str) -> Iterator[tuple[str, ...]]:
    names: dict[str, list[str]] = {}
    for name, version in sorted(store.pointers(stage).items()):
        names.setdefault(version, []).append(name)
    for version in store.versions(stage):
        shown = ", ".join(names.get(version, []))
        try:
            manifest = store.read_manifest(stage, version)
            rest = (age_text(manifest["created"]), size_text(payload_size(manifest)), escape(headline(manifest)))
        except PipelineError:
            rest = ("", "", f"[red]damaged: {MANIFEST} has changed since it was written[/]")
        yield (f"{stage}@{version}", shown, *rest)
    for version in store.unfinished(stage):
        writer = store.writer(stage, version)
        state = f"being made by {writer}" if writer else "unfinished"
        yield f"{stage}@{version}", "", "", "", f"[yellow]{escape(state)}[/]"


def show(store: Store, reference: str) -> int:
    """Print a manifest as text."""
    store, stage, version = find(store, reference)
    manifest = store.read_manifest(stage, version)
    console.print(f"[bold]{stage}@{version}[/] · {age_text(manifest['created'])} · {escape(headline(manifest))}")
    console.print(f"in {escape(str(store.directory(stage, version)))}")
    took = seconds_text(manifest["seconds"])
    _section("made", {"created": time_text(manifest["created"]), "took": took, "git": manifest.get("git")})
    _section("inputs", {role: _origin(given) for role, given in manifest["inputs"].items()})
    _section("metrics", {name: f"{value:.6g}" for name, value in manifest["metrics"].items()})
    _section("config", dict(_flat(manifest["config"])))
    sizes = {name: size_text(file["bytes"]) for name, file in manifest["files"].items()}
    _section("files", {**sizes, "all": size_text(payload_size(manifest))})
    for name in ("runtime", "packages", "host"):
        _section(name, dict(_flat(manifest.get(name, {}))))
    return 0


def _section(title: str, facts: Mapping[str, Any]) -> None:
    if not facts:
        return
    console.print(f"[bold]{title}[/]")
    width = max(map(len, facts))
    for name, value in facts.items():
        console.print(f"  {escape(name):<{width}}  {escape(str(value))}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def path(store: Store, reference: str) -> int:
    """Check the payload of a version and print only its directory, for scripts."""
    print(opened(store, reference).path.absolute())
    return 0


def lineage(store: Store, reference: str) -> int:
    """Print the lineage of a version as a tree, up to the base and the user's files."""
    store, stage, version = find(store, reference)
    tree = Tree(_node(store, stage, version))
    _grow(tree, store, stage, version, set())
    console.print(tree, soft_wrap=True)
    return 0


def _grow(tree: Tree, store: Store, stage: str, version: str, drawn: set[tuple[str, str]]) -> None:
    if not store.is_complete(stage, version):
        return
    for role, given in store.read_manifest(stage, version)["inputs"].items():
        below, name = store, (given["stage"], given["version"])
        if "path" in given:
            below = Store(Path(given["path"]).parents[2], Path(given["path"]).parents[1].name)
        if "source" in given:
            tree.add(f"{role}: {escape(_origin(given))}")
        elif name in drawn:
            tree.add(f"{role}: {name[0]}@{short_version(name[1])} [dim](drawn above)[/]")
        else:
            drawn.add(name)
            _grow(tree.add(f"{role}: {_node(below, *name)}"), below, *name, drawn)


def _node(store: Store, stage: str, version: str) -> str:
    if not store.is_complete(stage, version):
        return f"{stage}@{version} [yellow](gone)[/]"
    manifest = store.read_manifest(stage, version)
    return f"[bold]{stage}@{version}[/]  {escape(headline(manifest))}  [dim]{age_text(manifest['created'])}[/]"


def _origin(given: Mapping[str, Any]) -> str:
    """Return the text for one recorded input: a version, or the user's files."""
    source = given.get("source")
    if not source:
        return f"{given['stage']}@{given['version']}" + (f" in {given['path']}" if "path" in given else "")
    where = ", ".join(source.get("paths") or [source["path"]])
    revision = f" at {source['revision']}" if source.get("revision") else ""
    return f"{given['stage']} {given['version']} from {where}{revision}"


# -- tagging, verifying, pruning -----------------------------------------------------------------------------------


def tag(store: Store, reference: str, name: str) -> int:
    """Give a version another name, which also protects it from `prune`."""
    if name == "latest":
        raise RequestError("'latest' always names the newest version; choose another tag.")
    store, stage, version = find(store, reference)
    before = store.pointers(stage).get(name)
    store.point(stage, name, version)
    moved = f" (was {before})" if before and before != version else ""
    console.print(f"{stage}@{escape(name)} is {version}{moved}")
    return 0


def verify(store: Store, reference: str | None) -> int:
    """Hash every file again. Returns exit status 1 if one has changed."""
    if reference:
        store, *only = find(store, reference)
        versions = [(only[0], only[1])]
    else:
        versions = [(stage, version) for stage in store.stages() for version in store.versions(stage)]
    damaged: list[str] = []
    sizes: list[int] = []
    with progress("verifying", len(versions)) as advance:
        for stage, version in versions:
            damaged += _damages(store, stage, version, sizes.append)
            advance(1)
    for damage in damaged:
        console.print(f"[red]Damaged:[/] {escape(damage)}")
    files = f"{len(sizes):,} files, {size_text(sum(sizes))}, of {len(versions)} artifacts were read"
    console.print(f"{files}: " + (f"[red]{len(damaged)} damaged[/]" if damaged else "all as they were written"))
    return 1 if damaged else 0


def _damages(store: Store, stage: str, version: str, read: Callable[[int], None]) -> list[str]:
    try:
        return store.verify(stage, version, read)
    except PipelineError as error:  # the manifest is damaged
        return [str(error)]


def prune(store: Store, dry_run: bool) -> int:
    """Delete versions that are neither named nor upstream of a named one. Rankings and published tasks always stay."""
    prunable = [name for name, stage in STAGES.items() if not stage.keeps_human_work]
    found = pruning(store, prunable, {shard.STAGE.name: data.STAGE.name})
    freed = 0
    for stage, version in found.removable:
        size = _size(store.directory(stage, version)) if dry_run else store.remove(stage, version)
        freed += size
        done = "would delete" if dry_run else "deleted"
        console.print(f" {done} {stage}@{version}  {size_text(size)}  {found.removable[stage, version]}")
    for (stage, version), writer in found.busy.items():
        console.print(f" kept {stage}@{version}: being made by {writer}. All finished versions stay until it ends.")
    if found.unmerged:
        console.print(f" kept {len(found.unmerged)} finished shards that no `data` has merged yet.")
    count = f"{len(found.removable)} versions, {size_text(freed)}"
    console.print(f"{count} would be freed by `artifacts prune`." if dry_run else f"{count} freed.")
    return 0


def _size(directory: Path) -> int:
    files = [Path(folder) / name for folder, _, names in os.walk(directory) for name in names]
    return sum(file.stat().st_size for file in files if file.stat().st_nlink == 1)


VERBS: dict[str, tuple[Callable[..., int], str]] = {
    "ls": (ls, "List versions, of all stages or of one."),
    "show": (show, "A manifest, readable: metrics, config, inputs, files."),
    "path": (path, "Print the directory of a version and nothing else."),
    "lineage": (lineage, "Draw what a version was made from, up to the base."),
    "tag": (tag, "Give a version a name: artifacts tag sft friday; then sft@friday."),
    "verify": (verify, "Hash every file again; status 1 and the file's name where one is damaged."),
    "prune": (prune, "Delete versions that are neither latest nor tagged nor below such; never rankings."),
}
