"""Which commit of a hub repository a request means: a version has to stand for one content."""

import re

from pipeline.errors import PipelineError, RequestError

COMMIT = re.compile(r"[0-9a-f]{40}")


def is_hub_id(path: str) -> bool:
    """Whether a model path can be a hub repository: `owner/name` or `name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", path) is not None


def hub_commit(repository: str, revision: str | None) -> str:
    """The commit that a branch or tag names: the one in the local cache if it is there, else the hub's own answer.

    Asking the cache first keeps a chain on the files it began with when the repository moves on.
    Raises `RequestError` where there is no such repository or revision, `PipelineError` where the hub cannot be asked.
    """
    revision = revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    return _cached_commit(repository, revision) or _asked_commit(repository, revision)


def _cached_commit(repository: str, revision: str) -> str | None:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type="model")
    reference = f"{HF_HUB_CACHE}/{folder}/refs/{revision}"
    try:
        with open(reference) as file:
            return file.read().strip()
    except OSError:
        return None


def _asked_commit(repository: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return str(HfApi().model_info(repository, revision=revision, timeout=10).sha)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise RequestError(
            f"model.path={repository}: no folder of that name here, and on the hub no such model "
            "or a gated one: then log in with `hf auth login`."
        ) from None
    except Exception as error:  # the client wraps its transport's faults only in part
        raise PipelineError(
            f"model.path={repository}: no folder of that name here, and the hub cannot be asked "
            f"({type(error).__name__}). Give a local folder, or run once with a connection: later runs use the cache."
        ) from None
