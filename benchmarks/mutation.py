"""Which wrong formulas the default suite lets pass: mutants of the mathematics, and the tests that run their lines.

    pip install -e ".[mutation]"
    python benchmarks/mutation.py                              every file, goes on where it was interrupted
    python benchmarks/mutation.py lightning_genae/nn/losses.py    one file
    python benchmarks/mutation.py lightning_genae/nn/losses.py --tests tests/test_losses.py    by some tests alone
    python benchmarks/mutation.py --again                      those that survived, after tests were added
    python benchmarks/mutation.py --table                      only writes the table again, with reasons.yaml

The mutants are mutmut's: a number plus 1, an operator for another, a condition forced, an argument left out; and two
kinds more, without which a gradient that is cut or two sides that are exchanged would not be tried: a method that is
not called (`x.detach()` becomes `x`) and two arguments in the other order. Left out is what says little about a
formula: words of messages, what becomes None, which any test that runs the line notices, what only a GPU could tell
(`device=...` and `.cpu()` left out), and the other order where it is the same function (`min(a, b)`).

mutmut's own runner is not used, because it leaves out what stands outside of functions, such as the table of
adversarial losses, and whatever has a decorator. Here one process imports the libraries, and a fork of it imports this
project with one module mutated and runs the quick tests that reach the mutated line, quickest first, until one fails.
Which tests these are, one run of the default suite under coverage finds out; slow ones and those that start processes
are left out, so what is killed is killed by the default suite, and a survivor may still die by a whole training. Before
that, the same tests have to pass without a mutation. Some 5,000 mutants take one to two hours of two cores.
"""

import argparse
import ast
import gc
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "mutation"
PACKAGE = ROOT / "lightning_genae"
TARGETS = ("losses", "codes", "perturb", "gate", "augmentation", "evaluation", "ngram", "fidelity")
FOLDERS = ("models", "augment", "metrics")
LEFT_OUT = ("operator_string", "operator_assignment", "operator_lambda", "operator_dict_arguments")
SYMMETRIC = ("min", "max", "minimum", "maximum", "equal", "mse_loss", "l1_loss", "promote_types")
# they start processes, train by the whole command or read what is no mathematics
NOT_ASKED = ("run", "readme", "ddp", "cluster", "sequences", "ablate", "benchmarks", "imports", "registry")
NOT_ASKED += ("command_line", "grid", "report", "datamodules", "extractors")
DEFAULTS = "test_defaults.py"
SLOWEST = 2.0  # seconds of a test that is asked
BUDGET = 4.0  # seconds of all tests that are asked about a mutant, the quickest first
FAILED, PASSED = 1, 0
CONTROL = "control"  # the name of a file that was not changed: it has to pass


class Mutant(NamedTuple):
    """A mutated file: its name, where it was changed, and all of the new source."""

    name: str
    lines: range
    source: str


def targets() -> list[Path]:
    """The files with the mathematics."""
    files = [PACKAGE / f"{name}.py" for name in TARGETS]
    for folder in FOLDERS:
        files += sorted(path for path in (PACKAGE / folder).glob("*.py") if path.name != "__init__.py")
    return [path for path in [*files, PACKAGE / "ablation" / "statistics.py"] if path.is_file()]


# --- mutants


def mutants(path: Path) -> Iterator[Mutant]:
    """All mutants of a file."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation import file_mutation, mutators
    from mutmut.mutation.pragma_handling import get_ignored_lines

    class Visitor(file_mutation.MutationVisitor):
        def _skip_node_and_children(self, node):
            # mutmut could not wrap them; here a whole module is replaced
            is_decorated = isinstance(node, libcst.FunctionDef) and node.decorators
            return False if is_decorated else super()._skip_node_and_children(node)

    code = path.read_text()
    wrapper = MetadataWrapper(libcst.parse_module(code))
    operators = [one for one in mutators.mutation_operators if one[1].__name__ not in LEFT_OUT]
    operators = [
        (kind, without_none(one) if one.__name__ == "operator_arg_removal" else one) for kind, one in operators
    ]
    operators += [(libcst.Call, without_call), (libcst.Call, exchanged)]
    visitor = Visitor(operators, get_ignored_lines(str(path), code, wrapper))
    module = wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    seen = Counter()
    for mutation in visitor.mutations:
        source = file_mutation.deep_replace(module, mutation.original_node, mutation.mutated_node).code
        position = positions[mutation.original_node]
        name = f"{path.relative_to(ROOT)}: {change(code, source)}"
        seen[name] += 1
        if source != code:
            lines = range(position.start.line, position.end.line + 1)
            yield Mutant(name if seen[name] == 1 else f"{name} ({seen[name]})", lines, source)


def without_none(operator):
    """mutmut's removal of arguments without its replacement by None."""

    def num_devices(node) -> int:
        return sum(arg.keyword is not None and arg.keyword.value == "device" for arg in node.args)

    return lambda node: [
        mutated
        for mutated in operator(node)
        if len(mutated.args) < len(node.args) and num_devices(mutated) == num_devices(node)
    ]


def without_call(node):
    """x for x.method()."""
    import libcst

    if isinstance(node.func, libcst.Attribute) and not node.args and node.func.attr.value != "cpu":
        yield node.func.value


def exchanged(node):
    """f(b, a) for f(a, b)."""
    import libcst

    function = node.func.attr if isinstance(node.func, libcst.Attribute) else node.func
    if isinstance(function, libcst.Name) and function.value in SYMMETRIC:
        return
    if len(node.args) > 1 and not any(arg.keyword or arg.star for arg in node.args[:2]):
        first, second, *rest = node.args
        one, other = first.with_changes(value=second.value), second.with_changes(value=first.value)
        yield node.with_changes(args=[one, other, *rest])


def change(before: str, after: str) -> str:
    """The lines that differ, as `old` -> `new`."""
    old, new = before.splitlines(), after.splitlines()
    for _ in range(2):  # what both begin with, then what both end with
        same = next((i for i, (one, other) in enumerate(zip(old, new)) if one != other), min(len(old), len(new)))
        old, new = old[same:][::-1], new[same:][::-1]
    old, new = (" ".join(line.strip() for line in lines) for lines in (old, new))
    return f"`{old}` -> `{new}`"


# --- which tests run which lines


class Survey:
    """A plugin of pytest that notes which tests run which lines, and their seconds of computation, which do not depend
    on what else the machine does.

    What a fixture runs counts for every test that asks for it, not for the first one alone.
    """

    def __init__(self, coverage):
        self.coverage, self.seconds, self.fixtures, self.stack = coverage, {}, {}, [""]

    def enter(self, context: str) -> None:
        self.stack.append(context)
        self.coverage.switch_context(context)

    def leave(self) -> None:
        self.stack.pop()
        self.coverage.switch_context(self.stack[-1])

    def pytest_runtest_protocol(self, item):
        self.fixtures[item.nodeid] = [f"fixture {name}" for name in item.fixturenames]

    def pytest_runtest_logreport(self, report):
        # a test that fails or is skipped can say nothing about mutants
        self.seconds[report.nodeid] = max(self.seconds.get(report.nodeid, 0.0), 0.0 if report.passed else float("inf"))

    def pytest_runtest_logstart(self, nodeid):
        self.enter(nodeid)
        self.started = time.process_time()

    def pytest_runtest_logfinish(self, nodeid):
        self.leave()
        self.seconds[nodeid] += time.process_time() - self.started


def survey(folder: Path, asked: list[Path]) -> dict:
    """Seconds of the tests, the tests that run each line of each file, and the libraries that they import."""
    state = hashlib.sha256(b"".join(str(one).encode() + one.read_bytes() for one in [*targets(), *asked]))
    path = folder / f"tests-{state.hexdigest()[:16]}.json"
    if not path.is_file():
        print("Running the tests that are asked once, under coverage", flush=True)
        process = os.fork()
        if process == 0:
            try:
                record(path, folder, asked)
            finally:
                os._exit(1)
        os.waitpid(process, 0)
        shutil.rmtree(folder / "tmp" / str(process), ignore_errors=True)
    found = json.loads(path.read_text())
    failed = sum(seconds == float("inf") for seconds in found["seconds"].values())
    print(f"{len(found['seconds'])} tests; {failed} fail or are skipped, see {folder / 'survey.log'}", flush=True)
    return found


def all_asked() -> list[Path]:
    """The files of tests that mutants are shown to."""
    return [path for path in sorted((ROOT / "tests").glob("test_*.py")) if path.stem[5:] not in NOT_ASKED]


def record(path: Path, folder: Path, asked: list[Path]) -> None:
    """Writes what `survey` returns."""
    import coverage
    import pytest

    measured = coverage.Coverage(data_file=None, config_file=False, include=[str(one) for one in targets()])
    measured.start()
    plugin = Survey(measured)
    wrap_fixtures(plugin)
    quiet(folder / "survey.log")
    pytest.main(arguments(folder) + [str(one) for one in asked], plugins=[plugin])
    measured.stop()
    data, lines = measured.get_data(), {}
    for file in data.measured_files():
        contexts = data.contexts_by_lineno(file)
        lines[str(Path(file).relative_to(ROOT))] = {
            line: [
                test
                for test, fixtures in plugin.fixtures.items()
                if test in of_line or not of_line.isdisjoint(fixtures)
            ]
            for line, of_line in ((line, set(names)) for line, names in contexts.items())
        }
    ours = ("lightning_genae", "callbacks", "datamodules", "run", "tests", "conftest", "mutmut", "coverage")
    libraries = [name for name in sys.modules if name.partition(".")[0] not in ours and name != "__main__"]
    path.write_text(json.dumps({"seconds": plugin.seconds, "lines": lines, "libraries": libraries}))


def wrap_fixtures(plugin: Survey) -> None:
    """Notes what fixtures run under their own names."""
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(fixturedef):
        plugin.enter(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            plugin.leave()

    plugin.pytest_fixture_setup = pytest_fixture_setup


def arguments(folder: Path) -> list[str]:
    """Of pytest: in this process, without the default options but what they leave out."""
    words = ["-o", "addopts=", "-m", "not slow", "-q", "--tb=short", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    # of plugins, which were imported before the fork
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return [*words, f"--basetemp={folder / 'tmp' / str(os.getpid())}"]


def quiet(log: Path | None = None) -> None:
    """Sends all output of this process elsewhere."""
    out = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(out, stream)


def tests_of(mutant: Mutant, path: Path, found: dict) -> list[str]:
    """The tests to ask: those that run its lines, else those that run the function around it, else all of the file; and
    those of defaults, which are read without running a line."""
    return [*_of_defaults(mutant, path, found), *_that_run(mutant, path, found)]


def _of_defaults(mutant: Mutant, path: Path, found: dict) -> list[str]:
    """The tests that read a function's defaults, where they are mutated."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    if not any(node.lineno <= mutant.lines.start < node.body[0].lineno for node in nodes):
        return []
    tests = [test for test in sorted(found["seconds"]) if f"{DEFAULTS}::" in test]
    return [test for test in tests if test.endswith(f" {path.stem}]")] or tests


def _that_run(mutant: Mutant, path: Path, found: dict) -> list[str]:
    """The quickest tests that run a mutant's lines, as many as there is time for."""
    lines = found["lines"].get(str(path.relative_to(ROOT)), {})
    around = [mutant.lines, *enclosing(path, mutant.lines.start), range(1, 10**6)]
    for some in around:
        tests = {test for line, names in lines.items() if int(line) in some for test in names}
        tests = sorted((found["seconds"].get(test, 9e9), test) for test in tests)
        chosen, total = [], 0.0
        for seconds, test in tests:
            total += seconds
            if seconds <= SLOWEST and total <= BUDGET:
                chosen.append(test)
        if chosen:
            return chosen
    return []


def enclosing(path: Path, line: int) -> list[range]:
    """The functions, then the classes around a line, the inner ones first."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    spans = [range(node.lineno, node.end_lineno + 1) for node in nodes]
    return sorted((span for span in spans if line in span), key=len)


# --- one mutant


class Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module from another source than its file's."""

    def __init__(self, name: str, path: Path, source: str):
        super().__init__(name, str(path))
        self.mutated = source

    def get_code(self, fullname):
        return self.source_to_code(self.mutated.encode(), self.path)


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module mutated."""

    def __init__(self, path: Path, source: str):
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.loader = Mutated(self.name, path, source)

    def find_spec(self, fullname, path=None, target=None):
        return importlib.util.spec_from_loader(fullname, self.loader) if fullname == self.name else None


def ask(mutant: Mutant, path: Path, tests: list[str], folder: Path) -> None:
    """In a process of its own: runs the tests with the mutant and exits with pytest's status."""
    import pytest

    os.setsid()
    quiet(folder / "control.log" if mutant.name == CONTROL else None)
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))  # a wrong number can ask for very much
    sys.meta_path.insert(0, Finder(path, mutant.source))
    status = FAILED
    try:
        status = pytest.main([*arguments(folder), "-x", *tests])
    except BaseException:  # a mutant can make the collection of tests fail in any way
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(FAILED if status != PASSED else PASSED)


def preload(libraries: list[str]) -> None:
    """Imports what the tests import, but nothing of this project: its forks do, with one module mutated."""
    for name in sorted(libraries):
        try:
            importlib.import_module(name)
        except Exception:  # some are not to be imported by themselves
            continue


# --- all of them


class Jobs:
    """Forks that are at work, a number of them at a time; writes a line about each one that ends."""

    def __init__(self, num: int, out: Path):
        self.num, self.out, self.running = num, out, {}

    def start(self, row: dict, limit: float, work) -> None:
        while len(self.running) >= self.num:
            self.wait()
        process = os.fork()
        if process == 0:
            work()
        self.running[process] = (row, time.monotonic(), limit)

    def wait(self) -> None:
        """Until one has ended, or has had its time."""
        while True:
            for process, (row, start, limit) in self.running.items():
                ended, status = os.waitpid(process, os.WNOHANG)
                seconds = time.monotonic() - start
                if not ended and seconds < limit:
                    continue
                if not ended:
                    os.killpg(process, signal.SIGKILL)
                    os.waitpid(process, 0)
                result = "survived" if ended and status == 0 else "killed" if ended else "timeout"
                self.note({**row, "result": result, "seconds": round(seconds, 2)})
                shutil.rmtree(self.out.parent / "tmp" / str(process), ignore_errors=True)
                del self.running[process]
                return
            time.sleep(0.02)

    def note(self, row: dict) -> None:
        with self.out.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self) -> None:
        while self.running:
            self.wait()


def results(path: Path) -> dict[str, dict]:
    """The last row about each mutant of the files as they are now."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return {row["name"]: row for row in rows if (ROOT / row["file"]).is_file() and row["state"] == digest(row["file"])}


def control(path: Path, found: dict, folder: Path) -> None:
    """Raises RuntimeError where the tests of a file fail without any mutation: no result would mean a thing."""
    source = path.read_text()
    mutant = Mutant(CONTROL, range(1, source.count("\n") + 2), source)
    tests = tests_of(mutant, path, found)
    process = os.fork()
    if process == 0:
        ask(mutant, path, tests, folder)
    status = os.waitpid(process, 0)[1]
    shutil.rmtree(folder / "tmp" / str(process), ignore_errors=True)
    if tests and status != PASSED:
        raise RuntimeError(f"{path}: its tests fail without a mutation, see {folder / 'control.log'}")


def digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]


def run(files: list[Path], tests: list[Path], folder: Path, workers: int, again: bool) -> None:
    """Asks the tests about every mutant of the files that they were not asked about yet."""
    found = survey(folder, tests)
    preload(found["libraries"])
    gc.collect()
    gc.freeze()  # else the forks copy what they only count
    jobs = Jobs(workers, folder / "results.jsonl")
    for path in files:
        control(path, found, folder)
        known, file = results(jobs.out), str(path.relative_to(ROOT))
        done = {name for name, row in known.items() if not (again and row["result"] in ("survived", "untested"))}
        start, num = time.monotonic(), 0
        for mutant in mutants(path):
            if mutant.name in done:
                continue
            num += 1
            row = {"name": mutant.name, "file": file, "line": mutant.lines.start, "state": digest(file)}
            tests = tests_of(mutant, path, found)
            if not tests:
                jobs.note({**row, "result": "untested", "seconds": 0.0})
                continue
            limit = 30 + 4 * sum(found["seconds"][test] for test in tests)
            jobs.start(row, limit, partial(ask, mutant, path, tests, folder))
        jobs.finish()
        print(f"{file}: {num} mutants in {time.monotonic() - start:.0f} s", flush=True)


# --- the table


def write(folder: Path, out: Path) -> None:
    """The table of all files and the list of survivors, with the reasons that reasons.yaml gives."""
    import yaml

    reasons = out / "reasons.yaml"
    reasons = (yaml.safe_load(reasons.read_text()) or {}) if reasons.is_file() else {}
    rows = list(results(folder / "results.jsonl").values())
    lines = ["# Mutants of the mathematics", "", __doc__.partition("\n\n    pip")[0], "", *INTRODUCTION, ""]
    lines += [
        "| file | mutants | killed | of these by the time limit | survived | killed |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    files = [str(path.relative_to(ROOT)) for path in targets()]
    for file in [*files, "all"]:
        results_of = [row["result"] for row in rows if file in (row["file"], "all")]
        if num := len(results_of):
            count = Counter(results_of)
            killed = count["killed"] + count["timeout"]
            cells = (f"`{file}`" if file != "all" else "all", num, killed, count["timeout"], num - killed)
            lines.append(f"| {' | '.join(map(str, cells))} | {killed / num:.1%} |")
    lines += ["", "## Survivors", ""]
    for file in files:
        left = sorted((row["line"], row["name"]) for row in rows if row["file"] == file and alive(row))
        lines += [f"### `{file}`", ""] if left else []
        for line, name in left:
            lines.append(f"- line {line}: {name.partition(': ')[2]}: {reasons.get(name, 'no reason given yet')}")
        lines += [""] if left else []
    (out / "README.md").write_text("\n".join(lines).rstrip() + "\n")


INTRODUCTION = (
    "Made by `python benchmarks/mutation.py`, which says what mutants there are and how they are tried, and how to do",
    "so for one file. The reasons stand in `reasons.yaml`: the line of a survivor as it is printed here, after the",
    "file's name and a colon, and the reason why it is equivalent or not worth a test.",
)


def alive(row: dict) -> bool:
    return row["result"] in ("survived", "untested")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="those to mutate; none: all with mathematics")
    parser.add_argument("--tests", nargs="+", type=Path, default=[], help="files of tests to ask; none: all quick ones")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time, of one thread each")
    parser.add_argument("--again", action="store_true", help="ask about the survivors once more")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "mutation", help="for results so far")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the table")
    options = parser.parse_args()
    os.chdir(ROOT)  # mutmut reads its settings in pyproject.toml
    sys.path.insert(0, str(ROOT))
    folder = options.folder.resolve()
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        files = [path.resolve() for path in options.files] or targets()
        tests = sorted(path.resolve() for path in options.tests) or all_asked()
        run(files, tests, folder, options.workers, options.again)
    write(folder, options.out)
    print(f"The table is in {options.out / 'README.md'}")


if __name__ == "__main__":
    sys.dont_write_bytecode = False  # else every fork would compile this project and its tests anew
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = "1"  # before numpy and torch: a fork of a process with threads may hang
    main()
