"""Refuses credentials in a request, because requests are stored in files, manifests, logs and reports."""

import re
from collections.abc import Iterator
from typing import Any

from pipeline.config.keys import leaves

KEY = re.compile(  # vLLM's `stop_token_ids` are numbers of tokens
    r"(?i)(^|[._])(hub_token|api_?key|access_token|auth_token|(?<!return_)(?<!stop_)token_id|password|passwd|secret)s?$"
)
ENDPOINT_KEY = "OPENAI_API_KEY"  # environment variable with the key for endpoints
VALUE = re.compile(r"\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|ghp_[A-Za-z0-9]{16,})\b|://[^/@\s]+@")


def credentials(config: Any) -> Iterator[str]:
    """Yield a message for each key that holds or seems to hold a credential. Messages do not contain the value."""
    for key, value in leaves(config):
        if value and (KEY.search(key) or (isinstance(value, str) and VALUE.search(value))):
            yield (
                f"{key}: a credential does not belong in a request, which is written down. Give it in the environment: "
                f"HF_TOKEN for the hub, ARGILLA_API_KEY for Argilla, {ENDPOINT_KEY} for an endpoint."
            )
