"""Mutation testing: small faults are made in the code, and tests must fall by them.

    python -m bench.run.mutation                       150 mutants of compose, music and tokens
    python -m bench.run.mutation sound --sample 50     another room
    python -m bench.run.mutation --at v0.1.0           code and tests of a revision

The tests of the rooms run once under coverage: which lines does each one run, and how long does it
take? Then each mutant is tried against the tests that run its lines: those of the file's own test
module first, the quick before the slow, as many as ``--budget`` allows. A mutant that no test falls
by survives, and is printed as a diff: kill it by a test, or see that it changes nothing.

A fault is one of: a number moved (n + 1, n - 1; doubled, halved), a comparison, ``and``/``or``,
arithmetic or ``min``/``max`` exchanged, a condition negated, True for False, a sign or a statement
left out. Annotations, docstrings, texts, assertions, decorators and what is raised or logged stay.
The sample is drawn by a hash of each fault's place, so that another run, and to the greater part
another version, has the same. Files of the working tree are never changed: a copy is tested, and a
fault exists only in the memory of one process. So what a test starts as a program has no fault.
"""

import ast
import difflib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Annotated

import coverage
import hypothesis
import numba  # noqa: F401 - what every test imports is imported once, here
import numpy as np  # noqa: F401
import pytest
import typer
from rich.console import Console
from rich.progress import Progress

from bench import ROOT
from bench.script import run_script
from lofid.errors import LofidError

CORE = ("compose", "music", "tokens")
TESTS = {
    "compose": ("tests/compose", "tests/spec"),
    "music": ("tests/music", "tests/spec", "tests/house/test_parameter_reference.py"),
    "tokens": ("tests/tokens", "tests/compose", "tests/spec"),
    "sound": ("tests/sound", "tests/spec"),
    "service": ("tests/service", "tests/spec"),
}
"""Where the tests of a room are; those marked live are left out."""

LEFT_OUT = frozenset({"stacked.py", "lockstep.py", "relay.py"})
"""What needs a device or its interpreter: minutes a test."""

_LEFT_OUT_TESTS = ("tests/compose/test_lockstep.py", "tests/compose/test_relay.py")
_ORDERS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
_EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in ``path`` (from the root), the characters ``start`` to ``stop`` become ``new``.

    ``lines`` are those of its statement, ``names`` what a statement outside of functions defines.
    """

    path: str
    line: int
    start: int
    stop: int
    new: str
    lines: tuple[int, int]
    names: tuple[str, ...]
    identity: str

    def applied(self, source: str) -> str:
        """The file with the fault."""
        return source[: self.start] + self.new + source[self.stop :]

    def diff(self, source: str) -> str:
        """The lines that differ, before and after."""
        lines = difflib.unified_diff(
            source.splitlines(), self.applied(source).splitlines(), lineterm="", n=0
        )
        changed = [line for line in lines if line[:2] not in ("--", "++", "@@")]
        return "\n".join(f"    {line}" for line in changed)


@dataclass(frozen=True, slots=True)
class Tried:
    """A mutant and what became of it: killed, survived, timed out or not covered."""

    mutant: Mutant
    outcome: str
    tests: int = 0
    of: int = 0


@dataclass
class TestMap:
    """For each test its CPU seconds, and for each file and line the tests that run it."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


# -- faults -----------------------------------------------------------------------------------


class _Finder(ast.NodeVisitor):
    """Collects the mutants of one file."""

    def __init__(self, path: str, source: str) -> None:
        self.found: list[Mutant] = []
        self._path = path
        self._source = source
        encoded = [line.encode() for line in source.splitlines(keepends=True)]
        self._line_starts = [0]
        for line in encoded:
            self._line_starts.append(self._line_starts[-1] + len(line.decode()))
        self._encoded = encoded
        self._scope: list[str] = []
        self._statement: ast.stmt | None = None
        self._names: tuple[str, ...] = ()
        self._seen: Counter[str] = Counter()

    def visit(self, node: ast.AST) -> None:
        """Note which statement the node is in, and find its faults."""
        if isinstance(node, ast.Assert | ast.Raise | ast.Import | ast.ImportFrom):
            return
        outer = self._statement, self._names
        if isinstance(node, ast.stmt):
            self._statement = node
            in_function = any(not name.startswith("class ") for name in self._scope)
            if not in_function:
                self._names = self._defined(node)
        super().visit(node)
        self._statement, self._names = outer

    def _defined(self, node: ast.stmt) -> tuple[str, ...]:
        """What a statement of a module or a class defines: a constant, or the class around it."""
        if self._scope:
            return (self._scope[0].removeprefix("class "),)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        return tuple(target.id for target in targets if isinstance(target, ast.Name))

    def _scoped(self, name: str, body: Iterable[ast.AST]) -> None:
        self._scope.append(name)
        for child in body:
            self.visit(child)
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """The body and the defaults; no decorators, no annotations."""
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        self._scoped(node.name, node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """The body; no bases, no decorators."""
        self._scoped(f"class {node.name}", node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The value; no annotation."""
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        """The condition negated."""
        self._negated(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """The condition negated."""
        self._negated(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        """The condition negated."""
        self._negated(node.test)
        self.generic_visit(node)

    def _negated(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Compare):  # those have faults of their own
            self._add(test, f"not ({self._text(test)})", "negated")

    def visit_Compare(self, node: ast.Compare) -> None:
        """Another comparison."""
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            for other in _ORDERS.get(type(operator), ()):
                self._between(left, right, f" {other} ", "comparison")
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """``or`` for ``and``, the other way round."""
        other = " or " if isinstance(node.op, ast.And) else " and "
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, other, "boolean")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Another operation; a text put together stays."""
        if type(node.op) in _ARITHMETIC and not any(
            isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str)
            for side in (node.left, node.right)
        ):
            old, new = _ARITHMETIC[type(node.op)]
            self._between(node.left, node.right, new, "arithmetic", old)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Another operation."""
        if type(node.op) in _ARITHMETIC:
            old, new = _ARITHMETIC[type(node.op)]
            self._between(node.target, node.value, f"{new}=", "assignment", f"{old}=")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """The sign, or the ``not``, left out."""
        if isinstance(node.op, ast.USub | ast.Not):
            self._add(node, self._text(node.operand), "unary")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Another number, or the other truth."""
        value = node.value
        if isinstance(value, bool):
            self._add(node, str(not value), "truth")
        elif isinstance(value, int):
            self._add(node, str(value + 1), "number up")
            self._add(node, str(value - 1) if value else "-1", "number down")
        elif isinstance(value, float):
            self._add(node, repr(value * 2 if value else 1.0), "number up")
            self._add(node, repr(value / 2 if value else -1.0), "number down")

    def visit_Call(self, node: ast.Call) -> None:
        """The greatest for the least; calls that log or describe stay."""
        text = self._text(node.func)
        if text.startswith("_LOG.") or text in ("LofidError", "TokenError", "Refused"):
            return
        if text in _EXCHANGED:
            self._add(node.func, _EXCHANGED[text], "exchanged")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call whose result nobody takes, left out."""
        if isinstance(node.value, ast.Call) and not self._text(node).startswith("_LOG."):
            self._add(node, "pass", "statement")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        """Left out."""
        self._add(node, "pass", "statement")

    def visit_Break(self, node: ast.Break) -> None:
        """Left out."""
        self._add(node, "pass", "statement")

    def _place(self, line: int, column: int) -> int:
        """Where a line (from 1) and a column in bytes lie among the characters."""
        before = self._encoded[line - 1][:column].decode()
        return self._line_starts[line - 1] + len(before)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._place(node.lineno, node.col_offset),
            self._place(node.end_lineno, node.end_col_offset),
        )

    def _text(self, node: ast.expr | ast.stmt) -> str:
        start, stop = self._span(node)
        return self._source[start:stop]

    def _between(
        self, left: ast.expr, right: ast.expr, new: str, kind: str, old: str | None = None
    ) -> None:
        """Another operator between two operands; brackets and spaces around it stay."""
        start, stop = self._span(left)[1], self._span(right)[0]
        gap = self._source[start:stop]
        inner = gap.strip(" \n\t\\()") if old is None else old
        at = gap.find(inner)
        if not inner or at < 0 or "#" in gap:
            return
        self._record(start + at, start + at + len(inner), new.strip(), left.lineno, kind)

    def _add(self, node: ast.expr | ast.stmt, new: str, kind: str) -> None:
        self._record(*self._span(node), new, node.lineno, kind)

    def _record(self, start: int, stop: int, new: str, line: int, kind: str) -> None:
        statement = self._statement
        assert statement is not None
        here = f"{self._path} {'.'.join(self._scope)} {kind} {self._text(statement)} {new}"
        self._seen[here] += 1
        identity = f"{here} {self._seen[here]}"
        # Of a compound statement only the head, as far as the fault reaches, is its line.
        last = line if hasattr(statement, "body") else statement.end_lineno or line
        first = line if hasattr(statement, "body") else statement.lineno
        self.found.append(
            Mutant(self._path, line, start, stop, new, (first, last), self._names, identity)
        )


def mutants_of(path: str, source: str) -> list[Mutant]:
    """All faults of a file; a few of them are no Python."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return finder.found


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def sample(
    mutants: Iterable[Mutant], sources: dict[str, str], count: int, seed: int
) -> list[Mutant]:
    """So many mutants, by the hash of the seed and their place."""

    def rank(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.identity}".encode()).digest()

    whole = (one for one in sorted(mutants, key=rank) if _is_python(one.applied(sources[one.path])))
    return list(itertools.islice(whole, count))


# -- tests ------------------------------------------------------------------------------------


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from its file's text with a fault in it."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._faulty = source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._faulty, self.path, "exec")
        return code


class _Fault(importlib.abc.MetaPathFinder):
    """Finds one module with a fault in it."""

    def __init__(self, tree: Path, path: str, source: str) -> None:
        self._name = path.removesuffix(".py").replace("/", ".")
        self._loader = _Loader(self._name, str(tree / path), source)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._loader.path, loader=self._loader
        )


class _Watch:
    """A pytest plugin that notes for each test its time, its lines and its outcome."""

    def __init__(self, cover: coverage.Coverage) -> None:
        self.tests = TestMap()
        self._cover = cover

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._cover.switch_context(item.nodeid)
        begun = time.process_time()
        result = yield
        self.tests.seconds[item.nodeid] = time.process_time() - begun
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.failed.append(report.nodeid)


def _run_pytest(tree: Path, arguments: Sequence[str], examples: int, plugins: list[object]) -> int:
    """Run tests of a tree in this process, which has not imported lofid from elsewhere."""
    os.chdir(tree)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lofid"]:
        del sys.modules[name]
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    hypothesis.settings.register_profile(
        "mutation",
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    usual = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not live"]
    usual += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "--hypothesis-profile=mutation"]
    return int(pytest.main([*usual, *arguments], plugins=plugins))


def _forked(run: partial[int], log: Path, cpu_seconds: float, wall_seconds: float) -> int | None:
    """The exit status of ``run`` in a process of its own; None where it took too long."""

    def child() -> None:
        os.setsid()
        limit = round(cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        with log.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            os._exit(run())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(wall_seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode if process.exitcode is None or process.exitcode >= 0 else None


def map_tests(tree: Path, rooms: Sequence[str], examples: int) -> TestMap:
    """Run the tests of some rooms once; raises :class:`LofidError` where they do not run."""
    places = sorted({place for room in rooms for place in TESTS[room] if (tree / place).exists()})
    out, log = tree / "map.json", tree / "map.log"

    def measured() -> int:
        cover = coverage.Coverage(data_file=None, source=[str(tree / "lofid")])
        watch = _Watch(cover)
        cover.start()
        ignored = [f"--ignore={test}" for test in _LEFT_OUT_TESTS]
        status = _run_pytest(tree, [*ignored, *places], examples, [watch])
        cover.stop()
        data = cover.get_data()
        for file in data.measured_files():
            lines = data.contexts_by_lineno(file)
            path = Path(file).relative_to(tree).as_posix()
            watch.tests.lines[path] = {
                line: sorted(filter(None, contexts)) for line, contexts in lines.items()
            }
        out.write_text(json.dumps(asdict(watch.tests)))
        return status if status > 1 else 0

    if _forked(partial(measured), log, 3600, 3600) != 0:
        raise LofidError(f"The tests do not run; pytest said:\n{log.read_text()[-2000:]}")
    read = json.loads(out.read_text())
    lines = {
        path: {int(line): tests for line, tests in by_line.items()}
        for path, by_line in read["lines"].items()
    }
    return TestMap(read["seconds"], lines, read["failed"])


def tests_of(mutant: Mutant, tests: TestMap, users: dict[str, list[tuple[str, int]]]) -> list[str]:
    """The tests that run a mutant's lines, in the order in which they are worth running."""
    by_line = tests.lines.get(mutant.path, {})
    first, last = mutant.lines
    likely = {test for line in range(first, last + 1) for test in by_line.get(line, ())}
    for name in mutant.names:
        for path, line in users.get(name, ()):
            likely.update(tests.lines.get(path, {}).get(line, ()))
    found = set(likely)
    if mutant.names:  # whoever runs anything of the file may see what it defines
        found.update(test for tests_here in by_line.values() for test in tests_here)
    own = f"test_{Path(mutant.path).stem}.py::"
    return sorted(
        found - set(tests.failed),
        key=lambda test: (
            not (mutant.names or test in likely),
            own not in test,
            tests.seconds[test],
            test,
        ),
    )


def users_of_names(sources: dict[str, str]) -> dict[str, list[tuple[str, int]]]:
    """Where, within functions, each name is used: file and line."""
    users: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, source in sources.items():
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Name):
                        users[node.id].append((path, node.lineno))
                    elif isinstance(node, ast.Attribute):
                        users[node.attr].append((path, node.lineno))
    return users


def _try(
    mutant: Mutant, tree: Path, source: str, tests: TestMap, worth: list[str], budget: float,
    examples: int,
) -> Tried:  # fmt: skip
    """Run a mutant's tests until one falls."""
    if not worth:
        return Tried(mutant, "not covered")
    cost = 0.0
    chosen: list[str] = []
    for test in worth:
        if chosen and cost + tests.seconds[test] > budget:
            break
        chosen.append(test)
        cost += tests.seconds[test]

    def run() -> int:
        if "numba" in source:  # its cache on disk knows files by their date, not by their text
            os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(dir=tree)
        sys.meta_path.insert(0, _Fault(tree, mutant.path, mutant.applied(source)))
        return _run_pytest(tree, ["-x", *chosen], examples, [])

    log = tree / f"{hashlib.sha256(mutant.identity.encode()).hexdigest()[:16]}.log"
    status = _forked(partial(run), log, 60 + 4 * cost, 900)
    outcome = "timed out" if status is None else "killed" if status else "survived"
    return Tried(mutant, outcome, len(chosen), len(worth))


# -- the whole --------------------------------------------------------------------------------


def main(
    rooms: Annotated[list[str] | None, typer.Argument(help="Rooms; default: the core.")] = None,
    count: Annotated[int, typer.Option("--sample", min=1, help="Mutants to try.")] = 150,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    budget: Annotated[float, typer.Option(help="CPU seconds of tests a mutant.")] = 20.0,
    examples: Annotated[int, typer.Option(help="Hypothesis' examples a test.")] = 25,
    at: Annotated[str | None, typer.Option(help="A revision, not the working tree.")] = None,
) -> None:
    """Print the share of faults that tests fall by, and those that survive."""
    chosen = rooms or list(CORE)
    if unknown := set(chosen) - set(TESTS):
        raise LofidError(f"There is no room '{min(unknown)}'; choose of {', '.join(TESTS)}.")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="lofid-mutation-") as folder:
        tree = Path(folder)
        _copy(tree, at)
        sources = {
            path.relative_to(tree).as_posix(): path.read_text("utf-8")
            for room in chosen
            for path in sorted((tree / "lofid" / room).glob("*.py"))
            if path.name not in LEFT_OUT
        }
        everything = [one for path, source in sources.items() for one in mutants_of(path, source)]
        mutants = sample(everything, sources, count, seed)
        with console.status("Running the tests once"):
            tests = map_tests(tree, chosen, examples)
        users = users_of_names(sources)
        with (
            Progress(console=console, transient=True) as progress,
            ThreadPoolExecutor(jobs) as pool,
        ):
            task = progress.add_task("Trying mutants", total=len(mutants))

            def tried(mutant: Mutant) -> Tried:
                worth = tests_of(mutant, tests, users)
                source = sources[mutant.path]
                result = _try(mutant, tree, source, tests, worth, budget, examples)
                progress.advance(task)
                return result

            results = list(pool.map(tried, mutants))
    _report(results, sources, len(everything), tests)


def _copy(tree: Path, revision: str | None) -> None:
    """The files of the working tree that git knows or would, or those of a revision."""
    if revision is not None:
        archive = subprocess.run(
            ["git", "archive", revision], cwd=ROOT, check=False, capture_output=True
        )
        if archive.returncode:
            raise LofidError(f"There is no revision '{revision}'; name one that git knows.")
        subprocess.run(["tar", "x", "-C", tree], input=archive.stdout, check=True)
        return
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    here = b"\0".join(
        name for name in listed.stdout.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists()
    )
    packed = subprocess.run(
        ["tar", "c", "--null", "--files-from=-"],
        cwd=ROOT, input=here, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(["tar", "x", "-C", tree], input=packed.stdout, check=True)


def _report(results: list[Tried], sources: dict[str, str], of: int, tests: TestMap) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for test in tests.failed:
        console.print(f"Left out, it fails as it is: {test}", markup=False)
    by_room: dict[str, Counter[str]] = defaultdict(Counter)
    for one in results:
        room = one.mutant.path.split("/")[1]
        by_room[room]["killed" if one.outcome == "timed out" else one.outcome] += 1
    for one in sorted(results, key=lambda one: (one.mutant.path, one.mutant.line)):
        if one.outcome in ("survived", "not covered"):
            part = f"{one.tests} of {one.of} tests" if one.of else "no test runs it"
            console.print(f"{one.mutant.path}:{one.mutant.line}: {part}", markup=False)
            console.print(one.mutant.diff(sources[one.mutant.path]), markup=False)
    whole: Counter[str] = Counter()
    for room, counts in [*by_room.items(), ("all", whole)]:
        whole.update(counts if room != "all" else {})
        total = sum(counts.values())
        console.print(
            f"{room}: {counts['killed']} of {total} killed, {counts['killed'] / total:.0%}"
        )
    cut = sum(one.outcome == "survived" and one.tests < one.of for one in results)
    console.print(
        f"{len(results)} of {of} possible mutants; {cut} survivors were not tried against all of "
        "their tests (--budget)."
    )


if __name__ == "__main__":
    run_script("mutation", main)
