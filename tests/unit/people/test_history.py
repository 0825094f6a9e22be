"""Which collection of people's answers counts, however the project's folder was copied."""

import itertools
import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.people.history import Collection, collections
from pipeline.store.artifacts import MANIFEST, Store
from tests.conftest import commit

ROUND = {"publish": {"stage": "publish", "version": "aaaa00000000"}}


def store_with(tmp_path: Path, *amounts: tuple[int, int], inputs: Mapping[str, Any] = ROUND) -> Store:
    """A store with one collection for each (rankings, complete), in the order in which they were made."""
    store = Store(tmp_path, "project")
    for number, (rankings, complete) in enumerate(amounts):
        metrics = {"rankings": rankings, "discarded": 0, "annotators": 3, "complete": complete}
        commit(store, "collect", f"c{number:011}", inputs=inputs, metrics=metrics)
    return store


def counted(store: Store) -> Collection:
    (only,) = collections(store, "collect", "publish").values()
    return only


@pytest.mark.parametrize(
    ("amounts", "counts"),
    [
        ([(94, 1), (10, 0)], 0),
        ([(10, 0), (94, 1)], 1),
        ([(40, 0), (10, 0)], 0),
        ([(10, 0), (40, 0), (94, 1), (20, 0)], 2),
        ([(94, 1), (94, 1)], 1),  # looked at again: answers may have been corrected
    ],
)
def test_of_one_round_the_collection_with_the_most_answers_counts(
    tmp_path: Path, amounts: list[tuple[int, int]], counts: int
) -> None:
    store = store_with(tmp_path, *amounts)
    assert counted(store).version == f"c{counts:011}"


def test_copies_in_any_order_and_of_any_date_count_alike(tmp_path: Path) -> None:
    made = store_with(tmp_path / "made", (10, 0), (40, 0), (94, 1), (94, 1), (20, 0))
    expected, order = counted(made), made.versions("collect")
    chance = random.Random(0)
    for number, places in enumerate(itertools.islice(itertools.permutations(order), 0, None, 7)):
        copy = tmp_path / f"copy{number}"
        for version in places:
            target = copy / "project" / "collect" / version
            shutil.copytree(made.directory("collect", version), target)
            then = chance.uniform(1e9, 2e9)
            os.utime(target / MANIFEST, (then, then))
        store = Store(copy, "project")
        assert store.versions("collect") == order
        assert counted(store) == expected


def test_a_damaged_collection_is_reported_and_never_left_out(tmp_path: Path) -> None:
    store = store_with(tmp_path, (94, 1), (10, 0))
    manifest = store.directory("collect", "c00000000000") / MANIFEST
    manifest.write_text(manifest.read_text()[:-40])
    with pytest.raises(PipelineError, match=r"c00000000000.*damaged"):
        collections(Store(tmp_path, "project"), "collect", "publish")


def test_simulated_rounds_and_manifests_without_a_round_are_no_peoples_work(tmp_path: Path) -> None:
    store = store_with(tmp_path, (94, 1), inputs={})
    metrics = {"rankings": 94, "annotators": 3, "complete": 1, "simulated": 1}
    commit(store, "collect", "d00000000000", inputs=ROUND, metrics=metrics)
    assert collections(store, "collect", "publish") == {}


def test_manifests_from_before_microseconds_are_ordered_by_their_seconds(tmp_path: Path) -> None:
    store = store_with(tmp_path, (10, 0), (94, 1))
    times = {"c00000000000": "2026-01-02T00:00:00+00:00", "c00000000001": "2026-01-01T23:59:59+00:00"}
    for version, created in times.items():
        manifest = store.directory("collect", version) / MANIFEST
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "created": created}))
    assert store.versions("collect") == ["c00000000001", "c00000000000"]
