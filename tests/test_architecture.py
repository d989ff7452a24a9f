"""The rules of CONTRIBUTING.md, read from the syntax tree of every module.

A module says its kind in the first word of its docstring; what it may import follows from it.
Every rule is shown to fail on a small module that breaks it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 500

KINDS = {"Plan:": "plan", "Kernel:": "kernel", "Kernel helper:": "kernel", "Driver:": "driver"}

# Pure: nothing among these opens a file, starts a task or looks at the machine.
_PLAN_LIBRARIES = {
    *(
        "__future__",
        "collections",
        "dataclasses",
        "decimal",
        "enum",
        "fractions",
        "hashlib",
        "functools",
        "itertools",
    ),
    *("math", "numbers", "numpy", "operator", "re", "types", "typing"),
}
_NOT_IN_KERNELS = {
    *("dask", "distributed", "zarr", "fsspec", "h5py", "pyarrow", "xarray", "bokeh"),
    *("asyncio", "http", "io", "multiprocessing", "os", "pathlib", "shutil", "socket"),
    *("subprocess", "tempfile", "urllib"),
}
_DRAWS = {"clustergrid.pipeline.drawing"}
_MAY_CALL_ITSELF = {
    # Once, with the indices swapped.
    ("clustergrid.storage.condensed", "CondensedDistances.tile"),
}
_NO_IO_CALLS = {"open", "print", "input", "exec", "eval"}


@dataclass(frozen=True)
class Import:
    """An imported name, as ``package.module.name``; whether importing the file imports it."""

    name: str
    at_import: bool
    for_types: bool


@dataclass(frozen=True)
class Module:
    """A source file under its import name."""

    name: str
    source: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @cached_property
    def kind(self) -> str | None:
        return next((kind for word, kind in KINDS.items() if self.docstring.startswith(word)), None)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(_imports(self.tree.body, at_import=True, for_types=False))


def _imports(body: list[ast.stmt], *, at_import: bool, for_types: bool) -> Iterator[Import]:
    """Find imports anywhere in a body; those inside functions run later, if at all."""
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield Import(alias.name, at_import, for_types)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "imports are absolute"
            assert statement.module is not None
            for alias in statement.names:
                yield Import(f"{statement.module}.{alias.name}", at_import, for_types)
        later = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        types = isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            parts = getattr(statement, name, [])
            inside = [part for part in parts if isinstance(part, ast.stmt)]
            for part in parts:
                if isinstance(part, ast.ExceptHandler | ast.match_case):
                    inside += part.body
            yield from _imports(
                inside,
                at_import=at_import and not later,
                for_types=for_types or (types and name == "body"),
            )


def _module_of(name: str, modules: Mapping[str, Module]) -> str | None:
    """The module that an imported name is, or is in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def wrong_kind(module: Module) -> str | None:
    """Every module but `errors` says its kind first; packages may describe what is in them."""
    if module.kind is None and not module.is_package and not _holds_errors(module):
        return f"the docstring starts with none of {', '.join(KINDS)}"
    return None


def _holds_errors(module: Module) -> bool:
    return module.name.endswith(".errors")


def storage_imports_pipeline(module: Module) -> str | None:
    """``pipeline`` imports ``storage``, never the other way, not even inside a function."""
    if _is_in(module.name, "clustergrid.storage"):
        for found in module.imports:
            if _is_in(found.name, "clustergrid.pipeline"):
                return f"imports {found.name}"
    return None


def impure_plan(module: Module) -> str | None:
    """A plan module imports only what is pure, and calls nothing that does I/O."""
    if module.kind != "plan":
        return None
    for found in module.imports:
        library = found.name.partition(".")[0]
        if library != "clustergrid" and library not in _PLAN_LIBRARIES and not found.for_types:
            return f"imports {found.name}"
    return _io_call(module)


def impure_kernel(module: Module) -> str | None:
    """A kernel knows neither Dask, nor Zarr, nor files."""
    if module.kind != "kernel":
        return None
    for found in module.imports:
        if found.name.partition(".")[0] in _NOT_IN_KERNELS:
            return f"imports {found.name}"
    return _io_call(module)


def _io_call(module: Module) -> str | None:
    for node in ast.walk(module.tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in _NO_IO_CALLS:
            return f"line {called.lineno} calls {called.id}()"
    return None


def pure_imports_impure(module: Module, modules: Mapping[str, Module]) -> str | None:
    """Plans and kernels import only one another and errors, so no rule is got round."""
    if module.kind not in ("plan", "kernel"):
        return None
    for found in module.imports:
        target = _module_of(found.name, modules)
        if target is None or found.for_types or _holds_errors(modules[target]):
            continue
        if modules[target].kind not in ("plan", "kernel"):
            return f"imports {target}, which is neither plan nor kernel"
    return None


def matplotlib_elsewhere(module: Module) -> str | None:
    """Only the picture knows matplotlib."""
    if _is_in(module.name, "clustergrid.pipeline.render") or module.name in _DRAWS:
        return None
    for found in module.imports:
        if _is_in(found.name, "matplotlib"):
            return f"imports {found.name}"
    return None


def recursion(module: Module) -> str | None:
    """No function calls itself by name: a tree may be a chain of a million leaves."""
    for scope, function in _functions(module.tree, None):
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            by_name = isinstance(called, ast.Name) and called.id == function.name and scope is None
            by_self = (
                isinstance(called, ast.Attribute)
                and called.attr == function.name
                and isinstance(called.value, ast.Name)
                and called.value.id in ("self", "cls", scope)
                and scope is not None
            )
            if by_name or by_self:
                where = f"{scope}.{function.name}" if scope else function.name
                if (module.name, where) not in _MAY_CALL_ITSELF:
                    return f"line {node.lineno}: {where} calls itself"
    return None


def _functions(
    node: ast.AST, scope: str | None
) -> Iterator[tuple[str | None, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions with the class they are methods of."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield scope, child
            yield from _functions(child, None)
        else:
            yield from _functions(child, child.name if isinstance(child, ast.ClassDef) else scope)


def too_long(module: Module) -> str | None:
    """A file near 300 lines is a good size; at 500 it wants to be two."""
    lines = len(module.source.splitlines())
    return f"{lines} lines, and {MOST_LINES} are the limit" if lines > MOST_LINES else None


def cycle(modules: Mapping[str, Module]) -> list[str] | None:
    """Modules that import one another when they are imported; None where there are none."""
    graph = {
        name: {
            target
            for found in module.imports
            if found.at_import
            and not found.for_types
            and (target := _module_of(found.name, modules)) is not None
        }
        for name, module in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def _read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(("clustergrid", *(parts[:-1] if is_package else parts)))
    return Module(name, path.read_text(encoding="utf-8"), is_package)


MODULES = {
    module.name: module
    for package in ("pipeline", "storage")
    for module in map(_read, sorted((ROOT / package).rglob("*.py")))
}

RULES = (
    wrong_kind,
    storage_imports_pipeline,
    impure_plan,
    impure_kernel,
    matplotlib_elsewhere,
    recursion,
    too_long,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule) -> None:
    broken = {name: why for name, module in MODULES.items() if (why := rule(module)) is not None}
    assert not broken, "\n".join([str(rule.__doc__), *(f"{n}: {w}" for n, w in broken.items())])


def test_no_file_of_tests_is_too_long() -> None:
    tests = [_read(path) for path in sorted((ROOT / "tests").rglob("*.py"))]
    assert len(tests) > 100
    assert not {module.name: why for module in tests if (why := too_long(module)) is not None}


def test_plans_and_kernels_import_nothing_else() -> None:
    broken = {
        name: why
        for name, module in MODULES.items()
        if (why := pure_imports_impure(module, MODULES)) is not None
    }
    assert not broken


def test_no_module_imports_itself_through_others() -> None:
    found = cycle(MODULES)
    assert found is None, " -> ".join(found or [])


def test_the_rules_see_the_package() -> None:
    kinds = {module.kind for module in MODULES.values()}
    assert kinds == {None, "plan", "kernel", "driver"}
    assert "clustergrid.storage.grid" in MODULES
    assert "clustergrid.pipeline.render" in MODULES
    assert len(MODULES) > 50


BREAKING = [
    (wrong_kind, "clustergrid.pipeline.a", '"""Things."""'),
    (wrong_kind, "clustergrid.pipeline.a", "x = 1"),
    (storage_imports_pipeline, "clustergrid.storage.a", "import clustergrid.pipeline"),
    (
        storage_imports_pipeline,
        "clustergrid.storage.a",
        "def f():\n    from clustergrid.pipeline.tree.cuts import cut",
    ),
    (storage_imports_pipeline, "clustergrid.storage.a", "from clustergrid import pipeline"),
    (impure_plan, "clustergrid.pipeline.a", '"""Plan: a."""\nimport os'),
    (impure_plan, "clustergrid.pipeline.a", '"""Plan: a."""\nfrom pathlib import Path'),
    (impure_plan, "clustergrid.pipeline.a", '"""Plan: a."""\ndef f():\n    import dask.array'),
    (impure_plan, "clustergrid.pipeline.a", '"""Plan: a."""\nx = open("f")'),
    (impure_kernel, "clustergrid.pipeline.a", '"""Kernel: a."""\nimport zarr'),
    (impure_kernel, "clustergrid.pipeline.a", '"""Kernel: a."""\ndef f():\n    import distributed'),
    (
        impure_kernel,
        "clustergrid.pipeline.a",
        '"""Kernel helper: a."""\ntry:\n    pass\nexcept OSError:\n    from dask import delayed',
    ),
    (impure_kernel, "clustergrid.pipeline.a", '"""Kernel: a."""\ndef f():\n    open("f")'),
    (matplotlib_elsewhere, "clustergrid.pipeline.a", "def f():\n    import matplotlib.pyplot"),
    (recursion, "clustergrid.pipeline.a", "def f(n):\n    return n and f(n - 1)"),
    (
        recursion,
        "clustergrid.pipeline.a",
        "class A:\n    def f(self):\n        return [self.f() for _ in ()]",
    ),
    (recursion, "clustergrid.pipeline.a", "def g():\n    def f():\n        f()"),
    (too_long, "clustergrid.pipeline.a", "x = 1\n" * (MOST_LINES + 1)),
]


@pytest.mark.parametrize(("rule", "name", "source"), BREAKING)
def test_a_rule_sees_what_breaks_it(rule, name: str, source: str) -> None:
    assert rule(Module(name, source)) is not None


KEEPING = [
    (wrong_kind, "clustergrid.pipeline.errors", '"""Errors."""'),
    (storage_imports_pipeline, "clustergrid.pipeline.a", "import clustergrid.storage.grid"),
    (impure_plan, "clustergrid.pipeline.a", '"""Driver: a."""\nimport os'),
    (
        impure_plan,
        "clustergrid.pipeline.a",
        '"""Plan: a."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pathlib',
    ),
    (impure_kernel, "clustergrid.pipeline.a", '"""Kernel: a."""\nimport numba, scipy.special'),
    (recursion, "clustergrid.pipeline.a", "def f():\n    return max(f.x, 1)"),
    (recursion, "clustergrid.pipeline.a", "class A:\n    def f(self):\n        return f()"),
    (too_long, "clustergrid.pipeline.a", "x = 1\n" * MOST_LINES),
]


@pytest.mark.parametrize(("rule", "name", "source"), KEEPING)
def test_a_rule_lets_other_code_be(rule, name: str, source: str) -> None:
    assert rule(Module(name, source)) is None


def _named(**sources: str) -> dict[str, Module]:
    return {name: Module(name, source) for name, source in sources.items()}


def test_a_driver_behind_a_kernel_is_seen() -> None:
    modules = _named(a='"""Kernel: a."""\ndef f():\n    import b', b='"""Driver: b."""')
    assert pure_imports_impure(modules["a"], modules) is not None
    assert pure_imports_impure(modules["b"], modules) is None


def test_a_cycle_is_seen() -> None:
    assert cycle(_named(a="import b", b="import c", c="import a")) is not None
    assert cycle(_named(a="from b import x", b="class C:\n    import a")) is not None


def test_imports_that_do_not_run_at_import_make_no_cycle() -> None:
    later = "def f():\n    import a"
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a"
    assert cycle(_named(a="import b", b=later)) is None
    assert cycle(_named(a="import b", b=types)) is None
