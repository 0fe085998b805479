"""The house: what each room may import, who may start processes, who may write."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "topology"

MAY_IMPORT = {
    "errors": set(),
    "description": {"errors"},
    "pki": {"errors"},
    "nginx": {"errors"},
    "linting": {"errors", "description", "nginx"},
    "generation": {"errors", "description", "pki"},
    "runtime": {"errors", "description", "generation"},
    "machine": {"errors", "description", "generation"},
    "proof": {"errors", "description", "pki", "runtime"},
    "explaining": {"errors", "description", "pki", "nginx", "runtime", "proof"},
    "mutation": {"errors", "description", "nginx", "pki", "runtime", "proof"},
    "report": {
        "errors", "description", "pki", "generation", "proof", "runtime", "machine", "linting", "explaining",
        "mutation",
    },
    "commands": {
        "errors", "description", "generation", "runtime", "proof", "report", "machine", "nginx", "linting",
        "explaining", "mutation",
    },
    "cli": {"errors", "commands"},
    "testing": {"errors", "description", "generation", "runtime", "proof", "report"},
    "pytest_plugin": {"errors", "description", "runtime", "proof", "report", "testing"},
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip
"""Room -> rooms that it may know.  The arrows go one way."""

PURE = {"description", "proof.expectation"}
REQUESTS = {*PURE, "proof.aims", "proof.request_kinds", "proof.request_paths", "proof.witness"}
MAY_IMPORT_ALONE = {
    "proof/expectation.py": {"description"},
    "proof/callers.py": {"description", "proof"},
    "proof/needing.py": {"description", "proof"},
    "proof/expected_walls.py": {"description", "proof"},
    "proof/expected_egress.py": {"description", "proof"},
    "proof/request_paths.py": PURE,
    "proof/witness.py": set(),
    "proof/aims.py": REQUESTS,
    "proof/request_kinds.py": REQUESTS,
    "proof/expected_requests.py": REQUESTS,
}
"""What is expected never sees what was planned or generated: else a mistake there would be expected, too.
Requests name the modules of the proof that they may know one by one: those that are as pure."""

STARTS_PROCESSES = {
    "runtime/stacks.py", "runtime/engine.py", "runtime/contexts.py", "runtime/images.py", "machine/processes.py",
    "testing/tested.py",
}  # fmt: skip
"""Compose for the stacks, its version, ssh, mmdebstrap; the tools of this machine's trust stores; a tested lab names
the type of what stacks returns."""

TALKS_TO_THE_ENGINE = {
    "runtime/stacks.py", "runtime/looking.py", "runtime/engine.py", "runtime/contexts.py", "runtime/machines.py",
    "runtime/images.py", "runtime/networking.py", "runtime/shipping.py", "runtime/acme.py", "runtime/logs.py",
    "runtime/neighbours.py", "runtime/diagnosis.py", "runtime/inside.py", "runtime/gateways.py",
    "runtime/execution.py", "testing/tested.py",
}  # fmt: skip

WRITES = {"generation/writing.py", "machine/disk.py", "proof/probing.py", "testing/owner.py"}
"""A lab's files, in one place; what lies outside of the lab on this machine, in another; the certificates that a
prober shows, in a temporary folder of its own; and whoever has a test session's lab up removes its temporary folder."""

WRITING_CALLS = {
    "write_text", "write_bytes", "mkdir", "unlink", "rename", "rmdir", "touch", "chmod", "makedirs", "symlink_to",
    "hardlink_to", "rmtree", "copy", "copyfile", "move",
}  # fmt: skip


@cache
def modules() -> dict[str, ast.Module]:
    return {file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Everything in a tree; walking costs more than what any of the tests does with it."""
    return tuple(ast.walk(tree))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module) -> ast.Module:
    return ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])


def room_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


def wrong_arrows(module: str, tree: ast.Module) -> list[str]:
    room = room_of(module)
    allowed = MAY_IMPORT_ALONE.get(module, MAY_IMPORT[room] | {room})
    names = {name.removeprefix("topology.") for name in imported(tree) if name.startswith("topology.")}
    return sorted(
        {name.split(".")[0] for name in names if not any(f"{name}.".startswith(f"{one}.") for one in allowed)}
    )


def heavy_imports(tree: ast.Module) -> list[str]:
    return sorted(
        name for name in imported(at_module_level(tree)) if name.split(".")[0] in ("docker", "testcontainers")
    )


def used(tree: ast.Module, *packages: str) -> list[str]:
    return [name for name in imported(tree) if name.split(".")[0] in packages]


def shells(tree: ast.Module) -> list[str]:
    return [ast.unparse(node) for node in nodes(tree) if isinstance(node, ast.keyword) and node.arg == "shell"]


def writing_calls(tree: ast.Module) -> list[str]:
    found = []
    for node in nodes(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        opens = name == "open" and any(set(mode) & set("wax+") and len(mode) <= 3 for mode in modes)
        if name in WRITING_CALLS or opens:
            found.append(name)
    return found


def found_in_modules(look: Callable[[str, ast.Module], list[str]]) -> dict[str, list[str]]:
    """module -> what is found there; nothing of those where there is nothing."""
    return {module: found for module, tree in modules().items() if (found := look(module, tree))}


def test_every_module_is_looked_at() -> None:
    assert {"cli.py", "pki/issuing.py", "runtime/stacks.py"} <= modules().keys()
    assert STARTS_PROCESSES | TALKS_TO_THE_ENGINE | WRITES | MAY_IMPORT_ALONE.keys() <= modules().keys()


def test_the_arrows_go_one_way() -> None:
    assert found_in_modules(wrong_arrows) == {}


def test_the_engine_s_libraries_are_loaded_when_they_are_needed() -> None:
    """`--help` would wait for them."""
    assert found_in_modules(lambda _, tree: heavy_imports(tree)) == {}


def test_processes_are_started_and_the_engine_is_asked_in_the_runtime_alone() -> None:
    assert found_in_modules(lambda _, tree: used(tree, "subprocess")).keys() <= STARTS_PROCESSES
    assert found_in_modules(lambda _, tree: used(tree, "docker", "testcontainers")).keys() <= TALKS_TO_THE_ENGINE


def test_files_are_written_in_one_place() -> None:
    assert found_in_modules(lambda _, tree: writing_calls(tree)).keys() <= WRITES


def test_no_shell_is_started() -> None:
    assert found_in_modules(lambda _, tree: shells(tree)) == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("description/model.py", "from topology.generation import planning"),
        ("pki/issuing.py", "import topology.description.model"),
        ("generation/planning.py", "def late():\n    from topology.runtime import stacks"),
        ("proof/expectation.py", "from topology.generation.planning import plan"),
        ("proof/expectation.py", "from topology.pki import issuing"),
        ("proof/callers.py", "from topology.pki import zoo"),
        ("proof/expected_requests.py", "from topology.proof import requesting"),
        ("proof/request_kinds.py", "from topology.proof.probing import request"),
        ("runtime/stacks.py", "from topology.proof import checking"),
        ("machine/trust.py", "from topology.runtime import stacks"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, source: str) -> None:
    """The test above can fail."""
    assert wrong_arrows(module, ast.parse(source))


def test_a_heavy_import_is_seen() -> None:
    assert heavy_imports(ast.parse("import docker"))
    assert not heavy_imports(ast.parse("def late():\n    import docker"))


def test_a_process_and_a_shell_are_seen() -> None:
    tree = ast.parse("import subprocess\ndef late():\n    subprocess.run('ls', shell=True)")

    assert used(tree, "subprocess") == ["subprocess"]
    assert shells(tree) == ["shell=True"]
    assert used(ast.parse("import subprocesses"), "subprocess") == []


@pytest.mark.parametrize(
    "source", ["open('x', 'w')", "path.open('ab')", "path.write_text('')", "shutil.rmtree(path)", "path.mkdir()"]
)
def test_a_writing_call_is_seen(source: str) -> None:
    assert writing_calls(ast.parse(source))
    assert not writing_calls(ast.parse("path.open('rb'); path.read_text()"))
