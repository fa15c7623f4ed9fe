"""The imports of the package, read from the code without running it.

python tests/import_graph.py prints a table of them by room.

A room is a folder of ``scnet/``. The files beside the folders are the ground floor, on which all
rooms stand; ``scnet`` is the front door ``scnet/__init__.py``; everything outside ``scnet/`` is
"tools". Three rules hold:

- An import goes down the list ROOMS, never up.
- No import is hidden in a function, but that of an optional extra. Tools may: they answer
  ``--help`` before they import what takes long.
- No modules import each other in a circle.
"""

import ast
from collections import Counter, defaultdict
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Dict, Iterator, List

PROJECT = Path(__file__).resolve().parents[1] / "projects/SCNet"
GROUND = "ground floor"
ROOMS = [
    *("tools", "engine", "scnet", "inference", "export", "checkpoint", "data", "modeling"),
    GROUND,
]
OPTIONAL = {
    *("av", "faster_coco_eval", "gradio", "huggingface_hub", "mlflow", "onnx", "onnxruntime"),
    *("safetensors", "supervision", "tifffile", "timm", "wandb"),
}


@dataclass(frozen=True)
class Import:
    """One import of a module by another; both have their full names.

    Attributes:
        target: the module, also where the statement names a thing inside of it.
        hidden: the statement is inside a function.
    """

    importer: str
    target: str
    path: Path
    line: int
    hidden: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.importer} imports {self.target}"


class ImportGraph:
    """The modules below a project folder and what they import.

    Attributes:
        modules: name -> path. The package in ``tools/`` is named scnet_tools. A script outside
            packages has its bare name, by which the scripts beside it import it.
        imports: of all modules, those of other packages included.
    """

    def __init__(self, project: Path = PROJECT):
        self.modules: Dict[str, Path] = {}
        for path in sorted(project.rglob("*.py")):
            parts = path.relative_to(project).with_suffix("").parts
            if not (project / parts[0] / "__init__.py").exists():
                parts = parts[-1:]
            elif parts[0] == "tools":
                parts = ("scnet_tools", *parts[1:])
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[name] = path
        self.imports = [x for name in self.modules for x in self._imports_of(name)]

    def _imports_of(self, importer: str) -> Iterator[Import]:
        path = self.modules[importer]

        def visit(node: ast.AST, hidden: bool) -> Iterator[Import]:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.Import):
                    targets = [alias.name for alias in child.names]
                elif isinstance(child, ast.ImportFrom):
                    base = self._absolute(importer, child)
                    # A name is a module, or a thing inside of the module before it.
                    names = [f"{base}.{alias.name}" for alias in child.names]
                    targets = [x if x in self.modules else base for x in names]
                else:
                    function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                    yield from visit(child, hidden or function)
                    continue
                for target in dict.fromkeys(targets):
                    yield Import(importer, target, path, child.lineno, hidden)

        yield from visit(ast.parse(path.read_text()), False)

    def _absolute(self, importer: str, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parts = importer.split(".")
        is_package = self.modules[importer].name == "__init__.py"
        parts = parts[: len(parts) + is_package - statement.level]
        return ".".join([*parts, *filter(None, [statement.module])])

    def room(self, module: str) -> str:
        """The room that a module is in.

        Raises:
            ValueError: it is in no room of ROOMS.
        """
        package, *rest = module.split(".")
        path = self.modules[module]
        if package != "scnet":
            return "tools"
        if path.parent.name == "scnet":
            return GROUND if rest else "scnet"
        if rest[0] not in ROOMS:
            raise ValueError(f"{path} is in none of the rooms of {__file__}")
        return rest[0]

    def between_rooms(self) -> Dict[tuple, int]:
        """(room, the room it imports from) -> number of imports."""
        rooms = (
            (self.room(x.importer), self.room(x.target))
            for x in self.imports
            if x.target in self.modules
        )
        return Counter(pair for pair in rooms if pair[0] != pair[1])

    def going_up(self) -> List[str]:
        """The imports that go from a room to one above it."""
        return [
            f"{x}, which is above it"
            for x in self.imports
            if x.target in self.modules
            and ROOMS.index(self.room(x.target)) < ROOMS.index(self.room(x.importer))
        ]

    def hidden_in_functions(self) -> List[str]:
        """The imports inside functions that are not of an optional extra."""
        return [
            f"{x} inside a function"
            for x in self.imports
            if x.hidden and self.room(x.importer) != "tools"
            if x.target.split(".")[0] not in OPTIONAL
        ]

    def circle(self) -> List[str]:
        """Modules of which each imports the next, and the last is the first; or nothing.

        To import a.b.c runs a, a.b and a.b.c; so a module imports the packages around its target
        too, but not those around itself, which run already.
        """
        graph = defaultdict(set)
        for x in self.imports:
            if x.target in self.modules and not x.hidden:
                parts = x.target.split(".")
                packages = {".".join(parts[:k]) for k in range(1, len(parts))}
                around = {p for p in packages if f"{x.importer}.".startswith(f"{p}.")}
                graph[x.importer] |= (packages - around) | {x.target}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return list(reversed(error.args[1]))  # it lists who is imported before who imports
        return []

    def table(self) -> str:
        """A line per room: its size, and the number of imports from each room below."""
        between = self.between_rooms()
        lines = [f"{'room':13} {'files':>5} {'lines':>6}  imports from"]
        for room in ROOMS:
            paths = [path for name, path in self.modules.items() if self.room(name) == room]
            length = sum(len(path.read_text().splitlines()) for path in paths)
            targets = [
                f"{other} {between[room, other]}" for other in ROOMS if (room, other) in between
            ]
            lines.append(f"{room:13} {len(paths):5} {length:6}  {', '.join(targets)}".rstrip())
        return "\n".join(lines)


if __name__ == "__main__":
    print(ImportGraph().table())
