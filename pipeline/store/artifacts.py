"""The store of versioned artifacts: `outputs/<project>/<stage>/<version>/manifest.json` and the payload beside it.

A directory with a manifest is complete and never changes; a directory without one is unfinished and is resumed. So
the manifest is written last, by an atomic rename. It contains the hash of every file beside it, and its own checksum.
`latest` and the tags are pointer files beside the versions.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config.names import NAME
from pipeline.config.remembered import recall
from pipeline.errors import PipelineError, RequestError
from pipeline.files import file_hash, is_temporary, stat_of, sync, write_atomically
from pipeline.store.artifact import Artifact, external
from pipeline.store.locks import disk_faults, locked, remove_lock, writer

MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"  # folder in an unfinished version; deleted at commit


class Store:
    """All artifacts of one project."""

    def __init__(self, outputs: Path, project: str) -> None:
        if not NAME.fullmatch(project):
            raise RequestError(f"project={project}: a project's name has letters, digits, '.', '_' and '-' only.")
        self.root = outputs / project
        self.project = project
        self._opened: dict[tuple[str, str], Artifact] = {}

    # -- reading ---------------------------------------------------------------------------------------------------

    def directory(self, stage: str, version: str) -> Path:
        return self.root / stage / version

    def is_complete(self, stage: str, version: str) -> bool:
        return (self.directory(stage, version) / MANIFEST).is_file()

    def stages(self) -> list[str]:
        return sorted(p.name for p in _folders(self.root))

    def versions(self, stage: str) -> list[str]:
        """Return the complete versions, oldest first by the time in their manifests (file times change in copies)."""
        complete = [p for p in _folders(self.root / stage) if (p / MANIFEST).is_file()]
        return [name for _, name in sorted((_created(p / MANIFEST), p.name) for p in complete)]

    def unfinished(self, stage: str) -> list[str]:
        return [p.name for p in _folders(self.root / stage) if not (p / MANIFEST).is_file()]

    def resolve(self, reference: str) -> tuple[str, str]:
        """Resolve `stage`, `stage@latest`, `stage@<unique prefix of a version>` or `stage@<tag>` to (stage, version).

        Raises `RequestError` if no version matches, or several do.
        """
        stage, _, wanted = reference.partition("@")
        wanted = wanted or "latest"
        versions = self.versions(stage)
        pointer = self.root / stage / wanted
        if NAME.fullmatch(wanted) and pointer.is_file():
            named = pointer.read_text().strip()
            if named not in versions:
                raise RequestError(self._dangling(stage, wanted, named))
            return stage, named
        matching = [v for v in versions if v.startswith(wanted)]
        if len(matching) == 1:
            return stage, matching[0]
        if len(matching) > 1:
            raise RequestError(f"{reference}: {len(matching)} versions begin like this: {', '.join(matching)}.")
        if not versions:
            raise RequestError(
                f"No finished '{stage}' artifact in project {self.project} (looked in {self.root / stage}). "
                f"Run `{self._command(stage)}` first.{self._elsewhere(stage)}"
            )
        known = ", ".join([*sorted(self.pointers(stage)), *versions])
        raise RequestError(f"{reference}: no such version or tag in project {self.project}. There are: {known}.")

    def _dangling(self, stage: str, pointer: str, version: str) -> str:
        there = ", ".join(self.versions(stage)) or "none"
        return (
            f"{stage}@{pointer} names version {version}, which is gone from {self.root / stage}. There are: {there}. "
            f"Run `{self._command(stage)}` to make what the request asks for."
        )

    def open(self, stage: str, version: str) -> Artifact:
        """Return a complete artifact with its inputs, after checking that its payload has not changed.

        Raises `RequestError` if there is none, `PipelineError` if its payload has changed since the commit.
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
        """Read a manifest without checking the payload. Raises `PipelineError` if its checksum does not match."""
        path = self.directory(stage, version) / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            whole = manifest["checksum"] == _checksum(manifest)
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            raise PipelineError(
                f"{path} is damaged: the manifest differs from the one that was written. Restore it, or remove "
                f"{path.parent} and run the same command: it is made again."
            )
        return manifest  # type: ignore[no-any-return]

    def _inputs(self, manifest: Mapping[str, Any]) -> Iterator[tuple[str, Artifact]]:
        for role, made_from in manifest["inputs"].items():
            if "source" in made_from:
                yield role, external(made_from["stage"], made_from["version"], made_from["source"])
            elif "path" in made_from:  # of another project: only its path is recorded
                if (Path(made_from["path"]) / MANIFEST).is_file():
                    yield role, artifact_at(Path(made_from["path"]))
            elif self.is_complete(made_from["stage"], made_from["version"]):
                yield role, self.open(made_from["stage"], made_from["version"])

    def _command(self, stage: str) -> str:
        """Return the command that makes a stage: the project's last request with this stage, else a template."""
        with contextlib.suppress(RequestError):
            last = recall(self.root)
            if last:
                return last.command(f"stage={stage}")
        where = "" if self.project == "playground" else f" project={self.project} …"
        return f"python -m pipeline stage={stage}{where}"

    def _elsewhere(self, stage: str) -> str:
        """Return a sentence naming another project that has this stage, or ""."""
        beside = [folder.name for folder in sorted(_folders(self.root.parent)) if folder != self.root]
        having = [name for name in beside if Store(self.root.parent, name).versions(stage)]
        return f" Project {having[0]} has one: project={having[0]}." if having else ""

    # -- integrity -------------------------------------------------------------------------------------------------

    def _check(self, stage: str, version: str) -> None:
        """Compare file sizes and times with those of the last full check; if they differ, hash all files again.

        Raises `PipelineError` if a hash has changed.
        """
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
        with contextlib.suppress(OSError):  # a read-only store works, but opens more slowly
            write_atomically(record, json.dumps(now))

    def _stats(self, stage: str, version: str, files: Mapping[str, Any]) -> dict[str, list[int] | None]:
        path = self.directory(stage, version)
        return {name: stat_of(path / name) for name in sorted(files)}

    def verify(self, stage: str, version: str, read: Callable[[int], None] = lambda size: None) -> list[str]:
        """Hash every file. Returns a message for each file that is missing or differs from the manifest.

        `read` is called with the size in bytes of each file after it is read.
        """
        path = self.directory(stage, version)
        problems = []
        for name, recorded in self.read_manifest(stage, version)["files"].items():
            try:
                found = file_hash(path / name)
            except OSError as error:
                gone = isinstance(error, FileNotFoundError | NotADirectoryError)
                problems.append(f"{path / name} {'is missing' if gone else f'cannot be read ({error.strerror})'}")
                continue
            if found != recorded["sha256"]:
                problems.append(f"{path / name} has changed (its sha256 is not the one in the manifest)")
            read((path / name).stat().st_size)
        return problems

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, stage: str, version: str) -> Iterator[Path]:
        """Lock the directory of an unfinished version and yield its path.

        Raises `PipelineError` if another process holds the lock.
        """
        path = self.directory(stage, version)
        with locked(self.root / stage, version):
            with disk_faults(path):
                path.mkdir(parents=True, exist_ok=True)
            yield path

    def writer(self, stage: str, version: str) -> str | None:
        """Return the process that writes this version now, for messages; None if there is none."""
        return writer(self.root / stage, version)

    def commit(self, stage: str, version: str, manifest: Mapping[str, Any]) -> Artifact:
        """Hash the payload, write the manifest, which completes the version, and point `latest` to it."""
        path = self.directory(stage, version)
        shutil.rmtree(path / CHECKPOINTS, ignore_errors=True)
        files = {}
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            if is_temporary(file):
                file.unlink()
                continue
            files[file.relative_to(path).as_posix()] = {"bytes": file.stat().st_size, "sha256": file_hash(file)}
            sync(file)
        created = datetime.now(UTC).isoformat(timespec="microseconds")  # keeps the order within a second
        whole = {"stage": stage, "version": version, "created": created, **manifest, "files": files}
        whole["checksum"] = _checksum(whole)
        write_atomically(self.root / stage / f".{version}.check", json.dumps(self._stats(stage, version, files)))
        write_atomically(path / MANIFEST, json.dumps(whole, indent=2, allow_nan=False))
        self.point(stage, "latest", version)
        return self.open(stage, version)

    def discard(self, stage: str, version: str, traces: Collection[str]) -> None:
        """Remove a refused version if it contains no files but `traces` and empty ones; the caller holds its lock.

        The lock file is removed, too: another process that makes this version would be refused as well.
        """
        path = self.directory(stage, version)
        left = [p for p in path.rglob("*") if p.is_file() and p.name not in traces and p.stat().st_size]
        if left or self.is_complete(stage, version):
            return
        with contextlib.suppress(OSError):
            shutil.rmtree(path)
            remove_lock(self.root / stage, version)
            for folder in (path.parent, self.root):
                folder.rmdir()  # raises OSError, suppressed, if the folder is not empty

    def point(self, stage: str, name: str, version: str) -> None:
        """Point `latest` or a tag to a version."""
        if not NAME.fullmatch(name):
            raise RequestError(f"'{name}': a tag has letters, digits, '.', '_' and '-' only.")
        if (self.root / stage / name).is_dir():
            raise RequestError(f"'{name}' is the name of a version already: choose another tag.")
        pointer = self.root / stage / name
        if not pointer.is_file() or pointer.read_text() != version:
            with disk_faults(pointer):
                write_atomically(pointer, version)

    def pointers(self, stage: str) -> dict[str, str]:
        """Map `latest` and each tag to its version."""
        folder = self.root / stage
        files = [p for p in folder.iterdir() if p.is_file() and NAME.fullmatch(p.name)] if folder.is_dir() else []
        return {p.name: p.read_text().strip() for p in files}

    def remove(self, stage: str, version: str) -> int:
        """Delete a version, complete or not, manifest first. Returns the freed bytes.

        Raises `PipelineError` while a process writes it.
        """
        path = self.directory(stage, version)
        with locked(self.root / stage, version), disk_faults(path):
            freed = sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and p.stat().st_nlink == 1)
            (path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(path)
            (self.root / stage / f".{version}.check").unlink(missing_ok=True)
        self._opened.pop((stage, version), None)
        return freed


def artifact_at(path: Path) -> Artifact:
    """Return the artifact in a version's directory, of any project."""
    stage = path.absolute().parent
    return Store(stage.parent.parent, stage.parent.name).open(stage.name, path.name)


def _created(manifest: Path) -> datetime:
    """Return when a version was made. A damaged manifest sorts as the oldest, and is refused when it is read."""
    try:
        created = datetime.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["created"])
        return created if created.tzinfo else created.replace(tzinfo=UTC)
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.min.replace(tzinfo=UTC)


def _checksum(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of a manifest without its key `checksum`."""
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _folders(path: Path) -> list[Path]:
    return [p for p in path.iterdir() if p.is_dir() and NAME.fullmatch(p.name)] if path.is_dir() else []
