"""Finds artifacts that exist before a request: earlier versions, and files and models from outside."""

from pathlib import Path

from pipeline.config.names import nearest
from pipeline.data.reading.files import find_files
from pipeline.engine.paths import model_fault
from pipeline.errors import RequestError, Unplannable
from pipeline.model_files.folder import ModelFolder
from pipeline.services.hub import hub_commit
from pipeline.stage import FromDataset, FromFiles, FromModel, FromPath, FromReference, FromTokenizer, Reference
from pipeline.stages import STAGES
from pipeline.store.artifact import Artifact, external
from pipeline.store.artifacts import MANIFEST, Store, artifact_at
from pipeline.store.hashing import HashCache, content_hash


def find(reference: Reference, store: Store, hashes: HashCache) -> Artifact:
    """Return the artifact that a reference names. Raises `RequestError` if there is none, with all reasons."""
    match reference:
        case FromReference(text):
            return store.open(*store.resolve(text))
        case FromModel():
            return _find_model(reference, hashes)
        case FromTokenizer(path):
            return _find_tokenizer(path, hashes)
        case FromFiles(kind, paths):
            files = find_files(paths)
            version = content_hash([hashes.version_of(file) for file in files])
            return external(kind, version, {"paths": [str(file.absolute()) for file in files]}, files[0])
        case FromDataset(path, revision, subset, part):
            commit = hub_commit(path, revision, "dataset")
            dataset = {"path": path, "revision": commit, "subset": subset, "part": part}
            return external("dataset", content_hash(dataset), dataset)
        case FromPath(path):
            return _find_path(path, hashes)
    raise AssertionError(f"{reference} is made, not found")


def _find_path(text: str, hashes: HashCache) -> Artifact:
    path = Path(text).expanduser()
    if not path.exists():
        names = [*STAGES, *(f"{name}@latest" for name in STAGES)]
        hint = f" {nearest(text, names)}" if "/" not in text else ""
        raise RequestError(f"{text}: no such file or folder (looked in {path.absolute()}).{hint}")
    if (path / MANIFEST).is_file():  # an artifact of another project, or of another machine
        return artifact_at(path)
    kind, source = "folder" if path.is_dir() else "file", {"path": str(path.absolute())}
    return external(kind, hashes.version_of(path), source, path)


def _find_model(model: FromModel, hashes: HashCache) -> Artifact:
    path = Path(model.path).expanduser()
    template, fault = _read_template(model.chat_template)
    options = {"dtype": model.dtype, "chat_template": template, "thinking": model.thinking}
    faults = [one for one in (model_fault(model.path), fault) if one]
    if faults:
        raise Unplannable(faults)
    if path.is_dir():
        weights, source = hashes.version_of(path), {"path": str(path.absolute())}
    else:
        weights = hub_commit(model.path, model.revision)
        source = {"path": model.path, "revision": weights}
    version = content_hash([weights, options])
    return external("model", version, {**source, **options})


def _find_tokenizer(path: str, hashes: HashCache) -> Artifact:
    """Return a tokenizer, versioned by the content of its files: equal files of two models are one version."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        files = ModelFolder(folder, path).tokenizer_files
        version = content_hash({file.name: hashes.version_of(file) for file in files})
        return external("tokenizer", version, {"path": str(folder.absolute())}, folder)
    if fault := model_fault(path, "data.tokenizer"):
        raise RequestError(fault)
    commit = hub_commit(path, None)
    return external("tokenizer", commit, {"path": path, "revision": commit})


def _read_template(file: str | None) -> tuple[str | None, str]:
    """Return (chat template or None, fault or ""). None without a fault means that no file is named."""
    try:
        return Path(file).expanduser().read_text(encoding="utf-8") if file else None, ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return None, f"model.chat_template={file}: cannot be read ({reason})."
