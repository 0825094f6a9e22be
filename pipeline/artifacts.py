"""The store of versioned artifacts: `outputs/<project>/<stage>/<version>/manifest.json` beside the payload.

A directory with a manifest is complete and is never written again; one without is unfinished and is resumed. The
manifest is therefore written last, by an atomic rename. `latest` and the tags are pointer files beside the versions.
"""

import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError, RequestError
from pipeline.files import file_hash, stat_of, sync, write_atomically

MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"  # a stage's own, inside its unfinished version; deleted at commit
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Artifact:
    """One version of one stage's output, or something of the user's own (then without a manifest).

    `inputs` are the artifacts it was made from, as far as they still exist.
    """

    stage: str
    version: str
    path: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, "Artifact"] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        return f"{self.stage}@{self.version}"

    def file(self, name: str) -> Path:
        """A file of the payload. Raises `RequestError` where it has none: this is then no input of that kind."""
        path = self.path / name
        if not path.is_file():
            raise RequestError(f"{self.reference} ({self.path}) has no {name}: it cannot be used here.")
        return path

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.manifest.get("metrics", {})  # type: ignore[no-any-return]


class Store:
    """All artifacts of one project."""

    def __init__(self, outputs: Path, project: str) -> None:
        if not NAME.fullmatch(project):
            raise RequestError(f"project={project}: a project's name has letters, digits, '.', '_' and '-' only.")
        self.root = outputs / project
        self.project = project
        self._opened: dict[tuple[str, str], Artifact] = {}

    # -- looking ---------------------------------------------------------------------------------------------------

    def directory(self, stage: str, version: str) -> Path:
        return self.root / stage / version

    def is_complete(self, stage: str, version: str) -> bool:
        return (self.directory(stage, version) / MANIFEST).is_file()

    def stages(self) -> list[str]:
        return sorted(p.name for p in _folders(self.root))

    def versions(self, stage: str) -> list[str]:
        """Complete versions, oldest first."""
        found = [(p / MANIFEST).stat().st_mtime_ns for p in _folders(self.root / stage) if (p / MANIFEST).is_file()]
        names = [p.name for p in _folders(self.root / stage) if (p / MANIFEST).is_file()]
        return [name for _, name in sorted(zip(found, names, strict=True))]

    def unfinished(self, stage: str) -> list[str]:
        return [p.name for p in _folders(self.root / stage) if not (p / MANIFEST).is_file()]

    def resolve(self, reference: str) -> tuple[str, str]:
        """`stage`, `stage@latest`, `stage@<unique prefix of a version>` or `stage@<tag>` -> (stage, version)."""
        stage, _, wanted = reference.partition("@")
        wanted = wanted or "latest"
        versions = self.versions(stage)
        pointer = self.root / stage / wanted
        if NAME.fullmatch(wanted) and pointer.is_file():
            return stage, pointer.read_text().strip()
        matching = [v for v in versions if v.startswith(wanted)]
        if len(matching) == 1:
            return stage, matching[0]
        if len(matching) > 1:
            raise RequestError(f"{reference}: {len(matching)} versions begin like this: {', '.join(matching)}.")
        if not versions:
            raise RequestError(
                f"No finished '{stage}' artifact in project {self.project} (looked in {self.root / stage}). "
                f"Run `python -m pipeline stage={stage}{self._suffix()}` first."
            )
        known = ", ".join([*sorted(self.pointers(stage)), *versions])
        raise RequestError(f"{reference}: no such version or tag in project {self.project}. There are: {known}.")

    def open(self, stage: str, version: str) -> Artifact:
        """A complete artifact whose payload is as it was committed, with what it was made from.

        Raises `RequestError` if there is none, `PipelineError` if its payload has changed since.
        """
        key = (stage, version)
        if key not in self._opened:
            if not self.is_complete(stage, version):
                raise RequestError(f"No finished artifact {stage}@{version} in project {self.project}.")
            self._check(stage, version)
            path = self.directory(stage, version)
            manifest = self.read_manifest(stage, version)
            self._opened[key] = Artifact(stage, version, path, manifest, dict(self._inputs(manifest)))
        return self._opened[key]

    def read_manifest(self, stage: str, version: str) -> dict[str, Any]:
        """A manifest alone, without a look at the payload."""
        text = (self.directory(stage, version) / MANIFEST).read_text(encoding="utf-8")
        return json.loads(text)  # type: ignore[no-any-return]

    def _inputs(self, manifest: Mapping[str, Any]) -> Iterator[tuple[str, Artifact]]:
        for role, made_from in manifest["inputs"].items():
            if "source" in made_from:
                source = made_from["source"]
                path = Path(source.get("path") or source["paths"][0])
                yield role, Artifact(made_from["stage"], made_from["version"], path, {"source": source})
            elif self.is_complete(made_from["stage"], made_from["version"]):
                yield role, self.open(made_from["stage"], made_from["version"])

    def _suffix(self) -> str:
        return "" if self.project == "playground" else f" project={self.project}"

    # -- integrity -------------------------------------------------------------------------------------------------

    def _check(self, stage: str, version: str) -> None:
        """Compare sizes and times with those recorded at the last full hash, and hash again where they differ."""
        record = self.root / stage / f".{version}.check"
        files = self.read_manifest(stage, version)["files"]
        now = self._stats(stage, version, files)
        with contextlib.suppress(OSError, ValueError):
            if json.loads(record.read_text()) == now:
                return
        damaged = self.verify(stage, version)
        if damaged:
            raise PipelineError(
                f"{stage}@{version} is damaged and is not used: {damaged[0]}. Restore that file, or remove "
                f"{self.directory(stage, version)} and run the same command: it is made again."
            )
        with contextlib.suppress(OSError):  # a read-only store is as good, only slower to open
            write_atomically(record, json.dumps(now))

    def _stats(self, stage: str, version: str, files: Mapping[str, Any]) -> dict[str, list[int] | None]:
        path = self.directory(stage, version)
        return {name: stat_of(path / name) for name in sorted(files)}

    def verify(self, stage: str, version: str) -> list[str]:
        """Every file hashed again: a message for each that is missing or differs from the manifest."""
        path = self.directory(stage, version)
        problems = []
        for name, recorded in self.read_manifest(stage, version)["files"].items():
            if not (path / name).is_file():
                problems.append(f"{path / name} is missing")
            elif file_hash(path / name) != recorded["sha256"]:
                problems.append(f"{path / name} has changed (its sha256 is not the one in the manifest)")
        return problems

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, stage: str, version: str) -> Iterator[Path]:
        """The directory of an unfinished version, while no other process writes it."""
        path = self.directory(stage, version)
        path.mkdir(parents=True, exist_ok=True)
        lock_file = self.root / stage / f".{version}.lock"
        holder = self.root / stage / f".{version}.holder"
        lock = FileLock(lock_file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            who = holder.read_text() if holder.is_file() else "another process"
            raise PipelineError(
                f"{stage}@{version} is being made by {who}. Wait for it to end; then the same command finds it done."
            ) from None
        try:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield path
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def commit(self, stage: str, version: str, manifest: Mapping[str, Any]) -> Artifact:
        """Hash the payload and write the manifest, by which the version becomes complete."""
        path = self.directory(stage, version)
        shutil.rmtree(path / CHECKPOINTS, ignore_errors=True)
        files = {}
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            files[file.relative_to(path).as_posix()] = {"bytes": file.stat().st_size, "sha256": file_hash(file)}
            sync(file)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        whole = {"stage": stage, "version": version, "created": created, **manifest, "files": files}
        write_atomically(self.root / stage / f".{version}.check", json.dumps(self._stats(stage, version, files)))
        write_atomically(path / MANIFEST, json.dumps(whole, indent=2, allow_nan=False))
        self.point(stage, "latest", version)
        return self.open(stage, version)

    def point(self, stage: str, name: str, version: str) -> None:
        """Let `latest` or a tag name a version."""
        if not NAME.fullmatch(name):
            raise RequestError(f"'{name}': a tag has letters, digits, '.', '_' and '-' only.")
        if (self.root / stage / name).is_dir():
            raise RequestError(f"'{name}' is the name of a version already: choose another tag.")
        pointer = self.root / stage / name
        if not pointer.is_file() or pointer.read_text() != version:
            write_atomically(pointer, version)

    def pointers(self, stage: str) -> dict[str, str]:
        """`latest` and the tags: name -> version."""
        folder = self.root / stage
        files = [p for p in folder.iterdir() if p.is_file() and NAME.fullmatch(p.name)] if folder.is_dir() else []
        return {p.name: p.read_text().strip() for p in files}

    def remove(self, stage: str, version: str) -> int:
        """Delete a version, complete or not; returns the bytes freed. The manifest goes first."""
        path = self.directory(stage, version)
        freed = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
        for name in (".check", ".lock"):
            (self.root / stage / f".{version}{name}").unlink(missing_ok=True)
        return freed


def _folders(path: Path) -> list[Path]:
    return [p for p in path.iterdir() if p.is_dir() and NAME.fullmatch(p.name)] if path.is_dir() else []

