"""Resolves hub repositories to commits, so that a version means one content, and downloads files of data sets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.data.reading.files import SUFFIXES
from pipeline.errors import PipelineError, RequestError

RepoType = Literal["model", "dataset"]

COMMIT = re.compile(r"[0-9a-f]{40}")

SMALL = ["*.json", "*.jinja", "*.txt", "*.model"]  # a model's files except its weights

_KEYS = {"model": "", "dataset": "data.path="}  # key shown before the name; several keys can name a model


def is_hub_id(path: str) -> bool:
    """Whether a model path can be a hub repository: `owner/name` or `name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", path) is not None


def hub_commit(repository: str, revision: str | None, repo_type: RepoType = "model") -> str:
    """Return the commit of a branch or tag, from the local cache if it is there, else from the hub.

    The cache comes first so that a chain keeps using the same files when the repository changes.
    Raises `RequestError` if the repository or revision does not exist, `PipelineError` if the hub cannot be reached.
    """
    revision = revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    return _cached_commit(repository, revision, repo_type) or _asked_commit(repository, revision, repo_type)


def model_files(repository: str, commit: str) -> Path:
    """Return the folder with a model's small files (configuration, index, tokenizer), downloaded if not in the cache.

    Raises `RequestError` if the user has no access to the repository, `PipelineError` if it cannot be reached.
    """
    return _snapshot(repository, commit, SMALL, "model")


def dataset_files(repository: str, commit: str, subset: str | None, split: str) -> list[Path]:
    """Return the files of one split of a hub data set, found as the `datasets` library does, in the hub's cache.

    First the README is downloaded. Its `configs` list the files of each split, and only these are downloaded. If it
    lists none, all readable files are downloaded, and their names determine the splits. No code of the repository
    runs. Raises `RequestError` if the repository, subset or split does not exist, with the existing ones,
    and `PipelineError` if the hub cannot be reached and the cache does not hold all files.
    """
    from datasets.data_files import get_data_patterns, sanitize_patterns

    config = _subset(repository, _configs(repository, _snapshot(repository, commit, ["README.md"])), subset)
    inside = str(config.get("data_dir") or "").strip("/")
    if "data_files" in config:
        patterns = _split(repository, sanitize_patterns(config["data_files"]), split)
        folder = _snapshot(repository, commit, _downloads(inside, patterns)) / inside
        return _resolved(repository, folder, patterns, split)
    folder = _snapshot(repository, commit, _downloads(inside, [f"**/*{suffix}*" for suffix in SUFFIXES])) / inside
    try:
        found = get_data_patterns(str(folder))
    except FileNotFoundError as error:
        raise _absent(repository, split, str(error)) from None
    return _resolved(repository, folder, _split(repository, found, split), split)


def _configs(repository: str, folder: Path) -> Mapping[str, Mapping[str, Any]]:
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    card = folder / "README.md"
    if not card.is_file():
        return {}
    try:
        configs: Mapping[str, Mapping[str, Any]] = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data)
    except Exception as error:  # YAML's errors and the library's have no common base class
        raise RequestError(f"The README of data set {repository} cannot be understood: {error}") from None
    return configs


def _subset(repository: str, configs: Mapping[str, Mapping[str, Any]], subset: str | None) -> Mapping[str, Any]:
    """Return the README's entry for a subset; without a name, for the only subset or the default one.

    Raises `RequestError` if there is none.
    """
    if not configs and subset in (None, "default"):
        return {}
    marked = [name for name, said in configs.items() if len(configs) == 1 or name == "default" or said.get("default")]
    name = marked[0] if subset is None and marked else subset
    if name is None or name not in configs:
        wanted = "several subsets: name one" if name is None else f"no subset {name!r}"
        raise RequestError(f"The data set {repository} has {wanted}. There are: {', '.join(configs) or 'none'}.")
    return configs[name]


def _split(repository: str, patterns: Mapping[str, Sequence[str]], split: str) -> list[str]:
    named = {str(name): list(several) for name, several in patterns.items()}
    if split not in named:
        raise RequestError(f"The data set {repository} has no split {split!r}. There are: {', '.join(named)}.")
    return named[split]


def _downloads(folder: str, patterns: Sequence[str]) -> list[str]:
    """Return the patterns in the form for downloads, where `*` crosses folders and `**/` needs at least one folder."""
    whole = [f"{folder}/{pattern}" if folder else pattern for pattern in patterns]
    return [form for pattern in whole for form in (pattern, pattern.replace("**/", ""))]


def _snapshot(repository: str, commit: str, patterns: list[str], repo_type: RepoType = "dataset") -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(repository, repo_type=repo_type, revision=commit, allow_patterns=patterns))
    except (RepositoryNotFoundError, RevisionNotFoundError):  # the former also for a gated one without access
        raise _unknown(repository, repo_type) from None
    except Exception as error:  # the client does not wrap all errors of its transport
        raise _unreachable(repository, repo_type, error) from None


def _resolved(repository: str, folder: Path, patterns: list[str], split: str) -> list[Path]:
    from datasets.data_files import DataFilesPatternsList

    try:
        names = DataFilesPatternsList.from_patterns(patterns, list(SUFFIXES)).resolve(str(folder))
    except FileNotFoundError as error:
        raise _absent(repository, split, str(error)) from None
    if not names:
        raise _absent(repository, split, f"no file matches {', '.join(patterns)}")
    return [Path(name) for name in dict.fromkeys(names)]


def _absent(repository: str, split: str, found: str) -> PipelineError:
    return PipelineError(
        f"The data set {repository} has no file for split {split!r} that is here or could be downloaded ({found}). "
        f"Readable are {', '.join(SUFFIXES)}. With no connection, only files downloaded before can be used."
    )


def _cached_commit(repository: str, revision: str, repo_type: RepoType) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    try:
        found = HfApi().resolve_revision(repository, repo_type=repo_type, revision=revision, local_files_only=True)
    except RevisionResolutionError:
        return None
    return found.resolved


def _asked_commit(repository: str, revision: str, repo_type: RepoType) -> str:
    """Ask the hub for a commit. This also stores the branch in the cache, which a download by commit does not."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().repo_info(repository, repo_type=repo_type, revision=revision, timeout=10)  # the next has no timeout
        return HfApi().resolve_revision(repository, repo_type=repo_type, revision=revision).resolved
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise _unknown(repository, repo_type) from None
    except Exception as error:  # the client does not wrap all errors of its transport
        raise _unreachable(repository, repo_type, error) from None


def _unknown(repository: str, repo_type: RepoType) -> RequestError:
    return RequestError(
        f"{_KEYS[repo_type]}{repository}: no folder of that name here, and on the hub no such {repo_type} "
        "or a gated one: then log in with `hf auth login`."
    )


def _unreachable(repository: str, repo_type: RepoType, error: Exception) -> PipelineError:
    return PipelineError(
        f"{_KEYS[repo_type]}{repository}: no folder of that name here, and the hub cannot be asked "
        f"({type(error).__name__}). Give a local folder, or run once with a connection: later runs use the cache."
    )
