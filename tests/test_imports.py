"""Who may import whom, read from the source: holds whatever modules come, without running them."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "sightline_telemetry": ROOT / "telemetry/sightline_telemetry",
    "sightline_service": ROOT / "service/sightline_service",
    "prometheus": ROOT / "prometheus",
    "grafana": ROOT / "grafana",
    "benchmarks": ROOT / "benchmarks",
}

# Room -> the rooms that it may import. A room is a folder, or a module, of one of the two distributions, and a whole
# package elsewhere. The order of the table is the order of the house: a room imports only rooms that stand above it.
ALLOWED: dict[str, set[str]] = {
    "telemetry.estimators": set(),
    "telemetry.instruments": set(),
    "telemetry.access": set(),
    "telemetry.events": set(),
    "telemetry.standard_streams": set(),
    "telemetry.faults": {"telemetry.events"},
    "telemetry.requests": {"telemetry.events", "telemetry.faults"},
    "telemetry.model": {"telemetry.instruments"},
    "telemetry.counts": {"telemetry.events", "telemetry.instruments", "telemetry.model", "telemetry.requests"},
    "telemetry.traces": {
        "telemetry.counts",
        "telemetry.events",
        "telemetry.instruments",
        "telemetry.model",
        "telemetry.requests",
    },
    "telemetry.export": {
        "telemetry.counts",
        "telemetry.events",
        "telemetry.faults",
        "telemetry.instruments",
        "telemetry.model",
        "telemetry.requests",
        "telemetry.standard_streams",
        "telemetry.traces",
    },
    "telemetry.observer": {
        "telemetry.access",
        "telemetry.counts",
        "telemetry.events",
        "telemetry.export",
        "telemetry.faults",
        "telemetry.instruments",
        "telemetry.model",
        "telemetry.requests",
        "telemetry.standard_streams",
        "telemetry.traces",
    },
    "telemetry.measurement": {
        "telemetry.counts",
        "telemetry.faults",
        "telemetry.model",
        "telemetry.observer",
        "telemetry.requests",
    },
    "telemetry.sklearn": {"telemetry.estimators", "telemetry.measurement", "telemetry.model"},
    "telemetry.testing": {"telemetry.export"},
    "service.errors": set(),
    "service.settings": {"service.errors"},
    "service.memory_limit": set(),
    "service.bodies": {"service.errors"},
    "service.new_key": {"service.errors", "service.settings", "telemetry.access"},
    "service.server": {"service.errors", "telemetry.access", "telemetry.requests"},
    "service.diagnostics": {"service.errors", "telemetry.instruments", "telemetry.observer", "telemetry.requests"},
    "service.prediction": {
        "service.bodies",
        "service.errors",
        "telemetry.counts",
        "telemetry.estimators",
        "telemetry.events",
        "telemetry.faults",
        "telemetry.model",
        "telemetry.requests",
    },
    "service.feedback": {
        "service.bodies",
        "service.errors",
        "service.prediction",
        "telemetry.access",
        "telemetry.events",
        "telemetry.faults",
        "telemetry.instruments",
        "telemetry.model",
    },
    "service.bundles": {
        "service.bodies",
        "service.errors",
        "service.prediction",
        "telemetry.estimators",
        "telemetry.model",
    },
    "service.routes": {
        "service.bodies",
        "service.errors",
        "service.feedback",
        "service.prediction",
        "service.server",
        "telemetry.counts",
        "telemetry.events",
        "telemetry.faults",
        "telemetry.model",
        "telemetry.requests",
    },
    "service.observation": {
        "service.errors",
        "telemetry.counts",
        "telemetry.events",
        "telemetry.export",
        "telemetry.faults",
        "telemetry.observer",
        "telemetry.requests",
    },
    "service.telemetry": {
        "service.errors",
        "service.observation",
        "service.settings",
        "telemetry.access",
        "telemetry.counts",
        "telemetry.events",
        "telemetry.export",
        "telemetry.faults",
        "telemetry.observer",
        "telemetry.requests",
        "telemetry.traces",
    },
    "service.app": {
        "service.bodies",
        "service.bundles",
        "service.errors",
        "service.feedback",
        "service.prediction",
        "service.routes",
        "service.server",
        "service.settings",
        "service.telemetry",
        "telemetry.access",
        "telemetry.counts",
        "telemetry.model",
        "telemetry.observer",
        "telemetry.standard_streams",
    },
    "service.worker": {
        "service.app",
        "service.errors",
        "service.server",
        "service.settings",
        "telemetry.observer",
        "telemetry.standard_streams",
    },
    "service.serving": {
        "service.app",
        "service.memory_limit",
        "service.server",
        "service.settings",
        "telemetry.access",
        "telemetry.export",
        "telemetry.observer",
        "telemetry.standard_streams",
    },
    "service.demo": {
        "service.app",
        "service.bundles",
        "service.diagnostics",
        "service.errors",
        "service.server",
        "telemetry.instruments",
        "telemetry.requests",
    },
    "service.cli": {
        "service.bundles",
        "service.demo",
        "service.diagnostics",
        "service.errors",
        "service.new_key",
        "service.serving",
        "service.settings",
        "telemetry.export",
        "telemetry.requests",
        "telemetry.standard_streams",
    },
    "prometheus": {"telemetry.instruments", "telemetry.model"},
    "grafana": {"prometheus", "telemetry.instruments"},
    "benchmarks": {
        "prometheus",
        "service.app",
        "service.bundles",
        "service.demo",
        "service.feedback",
        "service.prediction",
        "service.routes",
        "service.server",
        "service.settings",
        "service.telemetry",
        "service.worker",
        "telemetry.counts",
        "telemetry.events",
        "telemetry.export",
        "telemetry.measurement",
        "telemetry.model",
        "telemetry.observer",
        "telemetry.requests",
    },
}

# Rooms and modules that run without OpenTelemetry, whatever they import; those of the second list without numpy too.
KNOW_NO_OTEL = {
    "telemetry.counts",
    "telemetry.model",
    "telemetry.observer.overflow",
    "telemetry.observer.worker_sink",
    "telemetry.traces.exemplars",
}
KNOW_NO_NUMPY = {
    "telemetry.access",
    "telemetry.events",
    "telemetry.faults",
    "telemetry.instruments",
    "telemetry.observer.supervisor",
    "telemetry.requests.allowance",
    "telemetry.requests.recording",
    "telemetry.requests.request_kind",
    "telemetry.requests.timeline",
    "telemetry.traces.tail_sampling",
}
KNOW_THE_SDK = {
    "sightline_telemetry.export.delta",
    "sightline_telemetry.export.exporters",
    "sightline_telemetry.export.guest",
    "sightline_telemetry.export.log_export",
    "sightline_telemetry.export.producer",
    "sightline_telemetry.export.scrape",
    "sightline_telemetry.export.sdk",
    "sightline_telemetry.testing",
    "sightline_telemetry.traces.spans",
    "sightline_telemetry.traces.trace_ring",
}

# Grafana provisions files in the Classic model only, which its SDK calls deprecated as soon as it is imported.
SDK_PREFERS_V2 = "ignore:Prefer using dashboardv2.Dashboard instead:DeprecationWarning"

# Imports every module again (ours, not what they lean on), and prints what a module left behind.
_IMPORT_ALL = """
import importlib, os, stat, sys, threading
def sockets():
    found = 0
    for fd in range(3, 256):
        try:
            found += stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            pass
    return found
for name in sys.argv[1:]:
    ours = ("sightline_service", "sightline_telemetry", "prometheus", "grafana")
    for loaded in [m for m in sys.modules if m.split(".")[0] in ours]:
        del sys.modules[loaded]
    importlib.import_module(name)
    if threading.active_count() > 1 or sockets() or os.listdir():
        raise SystemExit(f"{name}: {threading.enumerate()}, {sockets()} sockets, files {os.listdir()}")
print(len(sys.argv) - 1)
"""


def _modules(package: str) -> dict[str, Path]:
    """Dotted name -> file, of every module of a package."""
    folder = PACKAGES[package]
    files = sorted(folder.rglob("*.py"))
    names = (".".join((package, *f.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__") for f in files)
    return dict(zip(names, files, strict=True))


OURS = {name: file for package in PACKAGES for name, file in _modules(package).items()}


def _room(module: str) -> str:
    """The room of a module: `service.routes` of `sightline_service.routes.predict`."""
    package, *rest = module.split(".")
    short = package.removeprefix("sightline_")
    return f"{short}.{rest[0]}" if short != package and rest else short


@cache
def _imports(module: str) -> frozenset[str]:
    """What a module imports, wherever in it, under a condition or in a function too.

    Of `from a import b` both `a` and `a.b`: the text does not say whether b is a module.
    """
    file = OURS[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _reaches(module: str) -> set[str]:
    """What a module imports, and what those of ours import that it imports.

    The names of a package itself are left out: it loads them when they are used, as its own tests show.
    """
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        new = _imports(waiting.pop()) - reached
        reached |= new
        waiting.extend(new & OURS.keys() - PACKAGES.keys())
    return reached


def _within(names: Iterable[str], package: str) -> list[str]:
    return sorted(name for name in names if name == package or name.startswith(f"{package}."))


def _calls(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(OURS[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2]


def test_the_table_is_a_dag() -> None:
    """Each room of the table imports only rooms that stand above it."""
    above: set[str] = set()
    for room, allowed in ALLOWED.items():
        assert allowed <= above, f"{room} imports {sorted(allowed - above)}, which do not stand above it"
        above.add(room)


def test_every_room_is_in_the_table() -> None:
    """A new folder or module gets its place in the table, and one that is gone leaves it."""
    packages = {"telemetry", "service"}  # their __init__ modules import no room while they are imported
    assert {_room(module) for module in OURS} - packages == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_what_the_table_allows(room: str) -> None:
    """Every import from room to room is in the table, and the table allows nothing that no module needs."""
    modules = [module for module in OURS if _room(module) == room]
    imported = {_room(name) for module in modules for name in _imports(module) if name in OURS}
    assert imported - {room, "telemetry", "service"} == ALLOWED[room]


def _modules_of(parts: set[str]) -> list[str]:
    """The modules of rooms, or the modules themselves; raises if one does not exist."""
    found = {part: _within(OURS, f"sightline_{part}") for part in parts}
    assert all(found.values()), f"no module of {[part for part, modules in found.items() if not modules]}"
    return sorted(module for modules in found.values() for module in modules)


@pytest.mark.parametrize("module", _modules_of(KNOW_NO_OTEL | KNOW_NO_NUMPY))
def test_arithmetic_knows_no_opentelemetry(module: str) -> None:
    """Events, counts, profiles, drift and sampling run without OpenTelemetry, through whatever they import."""
    assert _within(_reaches(module), "opentelemetry") == []


@pytest.mark.parametrize("module", _modules_of(KNOW_NO_NUMPY))
def test_events_know_no_numpy(module: str) -> None:
    """What a supervisor runs, and what writes an event, imports no numpy through whatever it imports."""
    assert _within(_reaches(module), "numpy") == []


@pytest.mark.parametrize(
    "module", sorted(module for module in OURS.keys() - KNOW_THE_SDK if module not in _modules("benchmarks"))
)
def test_only_the_way_out_imports_the_sdk(module: str) -> None:
    """The SDK can be replaced in the modules that hand data to it; the rest knows the API at most."""
    assert _within(_imports(module), "opentelemetry.sdk") == []


@pytest.mark.parametrize("module", sorted(_modules("sightline_telemetry").keys() - {"sightline_telemetry.sklearn"}))
def test_only_the_drop_ins_import_scikit_learn(module: str) -> None:
    """Telemetry measures any model; its drop-in transformers alone know scikit-learn."""
    assert _within(_imports(module), "sklearn") == []


@pytest.mark.parametrize(
    "module",
    sorted(
        OURS.keys()
        - {
            "sightline_service.telemetry",
            "sightline_telemetry.observer.board_scrape",
            "sightline_telemetry.observer.observer",
        }
    ),
)
def test_only_an_observer_imports_the_providers(module: str) -> None:
    """Providers are built where the parts are wired: by an observer, where none runs, and where telemetry is off."""
    assert _within(_imports(module), "sightline_telemetry.export.sdk") == []


@pytest.mark.parametrize(
    "module", sorted(OURS.keys() - {f"sightline_service.{each}" for each in ("app", "serving", "settings", "worker")})
)
def test_only_what_starts_builds_settings(module: str) -> None:
    """Settings are read where the supervisor, a worker and the parts of an app are wired; all else is handed them."""
    assert {"Settings", "load_settings"}.isdisjoint(_calls(module))


def test_no_import_has_side_effects(tmp_path: Path) -> None:
    """Importing any module, in any order, starts no thread, opens no socket, writes no file and warns of nothing."""
    modules = [name for name in OURS if not name.startswith("benchmarks")]  # some need servers of others
    environment = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", SDK_PREFERS_V2, "-c", _IMPORT_ALL, *modules],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout.strip(), done.stderr) == (str(len(modules)), "")
