"""Python starts and imports as if the agent were absent, whoever else has a hand in it.

Each case is a real interpreter with a `pyspark` that has the shape of the real one and no JVM.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from extender.adapters.spark.agent import sitecustomize as agent
from tests.patience import PATIENCE_S

SOURCE = Path(agent.__file__).read_text(encoding="utf-8")
CONTEXT = """
class SparkContext:
    def _do_init(self):
        print("initialised")
"""
# Spark 4 keeps the class in pyspark.core, Spark 3.5 in pyspark.
PACKAGES = {
    "3.5": {"pyspark/__init__.py": "from pyspark.context import SparkContext", "pyspark/context.py": CONTEXT},
    "4": {
        "pyspark/__init__.py": "from pyspark.core.context import SparkContext",
        "pyspark/core/__init__.py": "",
        "pyspark/core/context.py": CONTEXT,
    },
}
JOB = """
import sys
from pyspark import SparkContext
assert hasattr(SparkContext._do_init, "carbon_scheduler"), "not patched"
assert not hasattr(SparkContext._do_init.__wrapped__, "carbon_scheduler"), "patched twice"
module = sys.modules[SparkContext.__module__]
assert type(module.__loader__) is type(module.__spec__.loader) is type(sys.modules["pyspark"].__loader__)
SparkContext()._do_init()
print("finders", sum(hasattr(finder, "carbon_scheduler") for finder in sys.meta_path))
"""
THEIRS = "print('theirs')\n"
# As ddtrace does it: take the own directory off the path, import the next, put it back.
CHAINING = """
print("chaining")
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
index = sys.path.index(here)
del sys.path[index]
own = sys.modules.pop("sitecustomize")
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = own
finally:
    sys.path.insert(index, here)
"""
DELEGATING = """
import sys
class Delegating:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        for finder in sys.meta_path:
            if finder is not cls:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
sys.meta_path.insert({place}, Delegating)
"""
# As ddtrace's module watchdog: asks the import system itself, and answers nothing while it does.
ASKING = """
import importlib.util, sys
class Asking:
    asked = set()
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in cls.asked:
            return None
        cls.asked.add(name)
        try:
            return importlib.util.find_spec(name)
        finally:
            cls.asked.discard(name)
sys.meta_path.insert({place}, Asking)
"""


@pytest.fixture(params=PACKAGES)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs the job with a directory for each source of a sitecustomize, in this order; what was printed."""
    for name, source in PACKAGES[request.param].items():
        (tmp_path / "spark" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "spark" / name).write_text(source)

    def start(*sources: str, job: str = JOB, **environ: str) -> list[str]:
        places = []
        for number, source in enumerate(sources):
            place = tmp_path / f"place{number}"
            place.mkdir()
            (place / "sitecustomize.py").write_text(source)
            places.append(str(place))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", job],
            env={
                "PYTHONPATH": ":".join([*places, str(tmp_path / "spark")]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "CARBON_SCHEDULER_URL": "http://127.0.0.1:9",
                "CARBON_SCHEDULER_NAMESPACE": "spark",
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return start


DONE = ["initialised", "finders 1"]


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([SOURCE], []),
        ([SOURCE, THEIRS], ["theirs"]),
        ([SOURCE, SOURCE], []),
        ([SOURCE, SOURCE, THEIRS], ["theirs"]),
        ([CHAINING, SOURCE], ["chaining"]),
        ([CHAINING, SOURCE, THEIRS], ["chaining", "theirs"]),
        ([SOURCE, CHAINING], ["chaining"]),
        ([SOURCE, CHAINING, THEIRS], ["chaining", "theirs"]),
        ([SOURCE, CHAINING, SOURCE, THEIRS], ["chaining", "theirs"]),
        ([CHAINING, SOURCE, CHAINING, THEIRS], ["chaining", "chaining", "theirs"]),
    ],
)
def test_whoever_else_is_on_the_path_runs_once(
    start: Callable[..., list[str]], sources: list[str], said: list[str]
) -> None:
    assert start(*sources) == said + DONE


@pytest.mark.parametrize("finder", [DELEGATING, ASKING])
@pytest.mark.parametrize("place", [0, 1])
def test_finders_may_ask_each_other(start: Callable[..., list[str]], finder: str, place: int) -> None:
    assert start(SOURCE, finder.format(place=place)) == DONE


def test_a_broken_finder_fails_as_it_would_without_the_agent(start: Callable[..., list[str]]) -> None:
    broken = """
import sys
class Broken:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.endswith("context"):
            raise RuntimeError("broken finder")
sys.meta_path.insert(1, Broken)
"""
    job = """
try:
    import pyspark
except RuntimeError as problem:
    print(problem)
"""
    assert start(SOURCE, broken, job=job) == ["broken finder"]


@pytest.mark.parametrize(
    "place",
    [
        "        finders = list(sys.meta_path)\n",
        "        for owner, name in ((module,",
        "    if module.SparkContext.__module__",
        "    import functools\n",
        "    if _current is None:\n        import atexit\n",
        "    if Settings(os.environ).problem or",
    ],
)
def test_an_error_of_the_agent_is_not_the_jobs(start: Callable[..., list[str]], place: str) -> None:
    assert SOURCE.count(place) == 1
    indent = place[: len(place) - len(place.lstrip())]
    sabotaged = SOURCE.replace(place, f"{indent}raise MemoryError\n{place}")
    job = "from pyspark import SparkContext; SparkContext()._do_init()"
    assert start(sabotaged, THEIRS, job=job) == ["theirs", "initialised"]


def test_an_error_of_the_hidden_file_is_told_as_ever(start: Callable[..., list[str]], tmp_path: Path) -> None:
    """Python catches it and goes on, with or without the agent in front."""
    job = "import sys; print('sitecustomize' in sys.modules)"
    loud = "import sys; sys.stderr = sys.stdout; raise ValueError('theirs is broken')"
    said = start(SOURCE, loud, job=job)
    assert said[0] == "Error in sitecustomize; set PYTHONVERBOSE for traceback:"
    assert said[1:] == ["ValueError: theirs is broken", "False"]


def test_the_hidden_file_leaves_no_half_of_itself(tmp_path: Path) -> None:
    """Whoever runs the agent's file without Python's import gets no help in cleaning up."""
    (tmp_path / "theirs.py").write_text("raise SystemExit('theirs is broken')")
    spec = importlib.util.spec_from_file_location("theirs", tmp_path / "theirs.py")
    with pytest.raises(SystemExit, match="theirs is broken"):
        agent._run(spec)
    assert "theirs" not in sys.modules


def test_the_hidden_file_is_the_sitecustomize_that_others_import(start: Callable[..., list[str]]) -> None:
    job = "import sitecustomize; print(sitecustomize.answer)"
    assert start(SOURCE, "answer = 42", job=job) == ["42"]


def test_without_an_address_nothing_is_installed(start: Callable[..., list[str]]) -> None:
    job = "import sys, pyspark; print(any(hasattr(each, 'carbon_scheduler') for each in sys.meta_path))"
    assert start(SOURCE, THEIRS, job=job, CARBON_SCHEDULER_URL="") == ["theirs", "False"]


def test_a_start_of_python_imports_nothing_heavy(start: Callable[..., list[str]]) -> None:
    heavy = {"contextlib", "http", "json", "logging", "socket", "ssl", "threading"}
    job = f"import sys; print(sorted({heavy} & set(sys.modules)))"
    assert start(SOURCE, job=job) == start(job=job)
