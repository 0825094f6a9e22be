"""The unpromised names of argilla-server that our code relies on still exist; checked in the server's environment.

The names are in `tests/canaries_server.py`; `labeling/server/inside/interface.py` also checks some at every start.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.canaries_server import SERVER
from tests.places import ROOT

INSIDE = ROOT / "labeling" / "server"
SCRIPT = """
import inspect, json, os, sys
os.environ |= {"ARGILLA_HOME_PATH": sys.argv[1], "ARGILLA_SEARCH_ENGINE": "sql"}
sys.path += sys.argv[2:]
from inside import late
with late.imports():
    import argilla_server
loaded = sorted({"pandas", *late.LATE} & set(sys.modules))
from argilla_server.contexts import hub
import datasets
from argilla_server.models import database as models
from argilla_server.search_engine import SearchEngine
from inside import conditions, database, jobs, leases, logs, shortcuts
from inside.search import SqlSearchEngine
from tests.canaries import fault, release
from tests.canaries_server import SERVER
from tests.private_uses import ELSEWHERE, foreign_imports, sources
from importlib import import_module

def missing():
    for ours, tree in sources(ELSEWHERE).items():
        for module, name in foreign_imports(ours, tree):
            found = import_module(module)
            if name and not hasattr(found, name):
                try:
                    import_module(f"{module}.{name}")
                except ImportError:
                    yield f"{release(module)} has no {module}.{name}, which {ours} imports"

def parameters(kind, name):
    return list(inspect.signature(getattr(kind, name)).parameters.values())

tables = models.DatabaseModel.metadata.tables
queries = {name: [parameters(kind, name) for kind in (SearchEngine, SqlSearchEngine)]
           for name in sorted(SearchEngine.__abstractmethods__)}
takes = lambda one: [p.name for p in one]
print(json.dumps({
    "faults": {f"{canary} in {canary.ours}": fault(canary) for canary in SERVER},
    "missing": list(missing()),
    "loaded at start": loaded,
    "real when used": hub.features.ClassLabel is datasets.ClassLabel and callable(hub.HFDataset.from_generator),
    "columns": {name: sorted(table.columns.keys()) for name, table in tables.items()},
    "indexes": sorted(index.name for table in tables.values() for index in table.indexes),
    "statistics": sorted(database.STATISTICS),
    "own indexes": [statement.split()[5] for statement in database.INDEXES],
    "refused": {name: sorted(set(takes(theirs)) - set(takes(ours)))
                for name, (theirs, ours) in queries.items() if not any(p.kind is p.VAR_KEYWORD for p in ours)},
}))
"""


@pytest.fixture(scope="module")
def asked(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a script that runs in the server's environment."""
    home = tmp_path_factory.mktemp("home")
    command = [argilla_environment, "-I", "-c", SCRIPT, home, INSIDE, ROOT]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", [f"{canary} in {canary.ours}" for canary in SERVER])
def test_what_the_server_relies_on_is_still_there(asked: dict[str, Any], name: str) -> None:
    assert asked["faults"][name] is None


def test_everything_that_the_server_imports_is_there(asked: dict[str, Any]) -> None:
    assert asked["missing"] == []


def test_slow_modules_are_imported_when_they_are_used(asked: dict[str, Any]) -> None:
    """Argilla needs them for the Hub and for other search engines alone; with them a start takes twice as long."""
    assert asked["loaded at start"] == []
    assert asked["real when used"]


def test_our_search_takes_what_argilla_asks_it(asked: dict[str, Any]) -> None:
    """A new parameter in Argilla would fail at an annotator's first search."""
    assert {name: more for name, more in asked["refused"].items() if more} == {}


def test_the_indexes_whose_statistics_we_write_exist(asked: dict[str, Any]) -> None:
    """Of one that is called otherwise SQLite would know nothing, and read all answers for each that is submitted."""
    assert set(asked["statistics"]) <= {*asked["indexes"], *asked["own indexes"]}


def test_the_columns_that_our_sql_names_exist(asked: dict[str, Any]) -> None:
    """SQL text repairs the records of a killed server."""
    named = {
        "records": {"id", "status", "dataset_id"},
        "responses": {"record_id", "status"},
        "datasets": {"id", "distribution"},
    }
    assert all(names <= set(asked["columns"][table]) for table, names in named.items())
