"""One version of a stage's output, or files and models from outside in the place of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RequestError


@dataclass(frozen=True)
class Artifact:
    """One version of a stage's output, or an external artifact: files or a model that no stage made.

    `inputs` are the artifacts it was made from, without those that no longer exist. An external artifact has none;
    its `stage` is its kind (see `external`), and its manifest has only the key `source`.
    """

    stage: str
    version: str
    path: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, "Artifact"] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        return f"{self.stage}@{self.version}"

    @property
    def name(self) -> str:
        """The name in messages: the path of an external artifact, else the reference."""
        path = self.source.get("path")
        return str(path) if path else self.reference

    @property
    def is_external(self) -> bool:
        """Whether no stage made it. Its origin is then unknown."""
        return "source" in self.manifest

    @property
    def source(self) -> Mapping[str, Any]:
        """`path` or `paths`, `revision` and load options of an external artifact; empty for stage outputs."""
        return self.manifest.get("source", {})  # type: ignore[no-any-return]

    @property
    def external_files(self) -> list[Path]:
        """User files or folder behind an external artifact; empty for stage outputs."""
        return [Path(path) for path in self.source.get("paths") or [self.source["path"]]] if self.is_external else []

    def file(self, name: str) -> Path:
        """Return the path of a payload file. Raises `RequestError` if it is missing: the input is of another kind."""
        path = self.path / name
        if not path.is_file():
            raise RequestError(f"{self.reference} ({self.path}) has no {name}: it cannot be used here.")
        return path

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.manifest.get("metrics", {})  # type: ignore[no-any-return]


MODELS = ("model", "folder", "file")  # kinds of external artifacts that can be used as a model


def external(kind: str, version: str, source: Mapping[str, Any], path: Path | None = None) -> Artifact:
    """Return an artifact that no stage made. `source` has its `path`, or the `paths` of its files.

    `kind` is `model`, `dataset`, `tokenizer`, `folder`, `file`, or the `kind` of a `FromFiles`.
    """
    return Artifact(kind, version, path or Path(source.get("path") or source["paths"][0]), {"source": source})
