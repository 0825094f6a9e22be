"""Which faults of tracking are the service's: only these mean "offline from here", and a bug of ours is raised."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.machine import TrackingConfig
from pipeline.errors import RequestError
from pipeline.services import tracking
from pipeline.services.tracking import NoTracker, Tracking, is_service_fault


def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> tuple[Any, list[str]]:
    """What `start` gives where the service's client raises `error`, and what is said."""

    def raises(*given: Any) -> None:
        raise error

    monkeypatch.setattr(tracking, "WandbTracker", raises)
    said: list[str] = []
    return Tracking(TrackingConfig(mode="online"), tmp_path, said.append).start({"id": "run"}), said


def service_faults() -> list[Exception]:
    from wandb.errors import AuthenticationError, CommError
    from wandb.sdk.mailbox.mailbox import MailboxClosedError

    return [
        CommError("unreachable"),
        AuthenticationError("key"),
        MailboxClosedError(),
        TimeoutError(),
        OSError(28, "full"),
    ]


def test_a_fault_of_the_service_turns_tracking_off_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in service_faults():
        tracker, said = started(tmp_path, monkeypatch, error)
        assert isinstance(tracker, NoTracker)
        assert [type(error).__name__ in word for word in said] == [True, True]  # online, then offline


@pytest.mark.parametrize("error", [KeyError("job_type"), TypeError("init() got another argument"), ValueError("step")])
def test_a_bug_of_ours_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert not is_service_fault(error)
    with pytest.raises(type(error)):
        started(tmp_path, monkeypatch, error)


def test_settings_that_the_service_refuses_are_the_requests_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "soon")
    with pytest.raises(RequestError, match=r"WANDB_.*init_timeout"):
        Tracking(TrackingConfig(mode="offline"), tmp_path, print).start({"id": "run", "name": "run"})
