"""The arrows of the house: which room may import which, no cycles between files, and what nobody may call."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
PACKAGE = SRC / "headstart"
TOP = 9  # the doors on top: __init__, __main__, cli, demo, sklearn
LEVELS = {
    "ground": 0,
    "model": 1,
    "data": 1,
    "base": 2,
    "train": 3,
    "prompt": 3,
    "evaluate": 4,
    "choose": 5,
    "release": 5,
    "serve": 5,
}
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

# Unpickling, evaluating and shelling out are how a file becomes a program. torch.load stands in one place,
# behind --allow-pickle and weights_only=True.
BANNED_IMPORTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
BANNED_CALLS = {"eval", "exec", "yaml.load", "joblib.load", "np.load", "numpy.load", "os.system", "os.popen"}
BANNED_METHODS = {"extractall"}
TORCH_LOAD_HOME = PACKAGE / "base" / "tensors.py"


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room_level(module: str) -> tuple[str, int]:
    parts = module.split(".")
    if len(parts) > 1 and parts[1] in LEVELS:
        return parts[1], LEVELS[parts[1]]
    return "doors", TOP


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import of our own package in a file: top level, inside functions, under TYPE_CHECKING."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; expected the full name headstart..."
            source = node.module or ""
            names = [f"{source}.{a.name}" if f"{source}.{a.name}" in MODULES else source for a in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module"):
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        else:
            continue
        found += [(node.lineno, name) for name in names if name.split(".")[0] == "headstart"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room, level = room_level(module_name(path))
    for line, target in imports_of(path):
        target_room, target_level = room_level(target)
        allowed = target_room == room or target_level < level
        assert allowed, f"{path.relative_to(SRC)}:{line}: room {room} ({level}) imports {target} ({target_level})"


def test_every_folder_is_a_known_room() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(LEVELS), f"no level is given to {sorted(folders - set(LEVELS))}"


def test_no_cycle_between_files() -> None:
    edges = {
        name: sorted({t for _, t in imports_of(path) if t in MODULES and t != name}) for name, path in MODULES.items()
    }
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> None:
        assert name not in trail, "cycle: " + " -> ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        for target in edges[name]:
            walk(target, [*trail, name])
        done.add(name)

    for name in edges:
        # The package's own __init__ names everything lazily; a file that imports it would import itself.
        if name != "headstart":
            walk(name, [])


def calls(path: Path) -> list[tuple[int, str, ast.Call]]:
    return [(n.lineno, ast.unparse(n.func), n) for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_turns_a_file_into_a_program(path: Path) -> None:
    where = path.relative_to(SRC)
    for node in ast.walk(tree_of(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in BANNED_IMPORTS, f"{where}:{node.lineno}: imports {name}"
    for line, name, call in calls(path):
        assert name not in BANNED_CALLS, f"{where}:{line}: calls {name}"
        assert name.rsplit(".", 1)[-1] not in BANNED_METHODS, f"{where}:{line}: calls {name}"
        shell = [k for k in call.keywords if k.arg == "shell"]
        assert not shell, f"{where}:{line}: shell="
        trust = [k for k in call.keywords if k.arg == "trust_remote_code"]
        assert not trust, f"{where}:{line}: trust_remote_code="
        if name == "torch.load":
            assert path == TORCH_LOAD_HOME, f"{where}:{line}: torch.load outside base/tensors.py"
            keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert keywords.get("weights_only") == "True", f"{where}:{line}: torch.load without weights_only=True"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_library_prints_nothing(path: Path) -> None:
    printing = [line for line, name, _ in calls(path) if name in ("print", "pprint")]
    assert not printing, f"{path.relative_to(SRC)}: print at lines {printing}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_exception_is_swallowed_and_no_kwargs_tunnel_is_dug(path: Path) -> None:
    where = path.relative_to(SRC)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}:{node.lineno}: bare except"
            silent = all(isinstance(b, ast.Pass) for b in node.body)
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (silent and broad), f"{where}:{node.lineno}: {ast.unparse(node.type)} swallowed"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.args.kwarg is None, f"{where}:{node.lineno}: {node.name} takes **{node.args.kwarg}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))
    assert code <= 600, f"{path.relative_to(SRC)} has {code} lines of code"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 80, f"{path.relative_to(SRC)}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{path.relative_to(SRC)} has no module docstring"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_all_names_exist(name: str) -> None:
    """A module with __all__ offers exactly those names; a public name it misses is a name that __all__ forgot."""
    if name.endswith("__main__"):
        pytest.skip("importing it runs the command line")
    if name == "headstart.base.gguf":
        pytest.importorskip("gguf")
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        return
    assert sorted(exported) == sorted(set(exported)), f"{name}.__all__ repeats a name"
    for attribute in exported:
        assert getattr(module, attribute, None) is not None, f"{name}.__all__ names {attribute}, which is not there"


def test_the_front_door_names_are_the_promised_ones() -> None:
    import headstart

    assert {"Base", "Task", "adapt", "pretrain", "HeadstartError", "__version__"} <= set(headstart.__all__)
    assert set(dir(headstart)) == set(headstart.__all__)
    with pytest.raises(AttributeError, match="it offers"):
        _ = headstart.finetune
