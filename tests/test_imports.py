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
PACKAGES = ("service", "telemetry", "grafana")

# Modules that the rules name are in docs/architecture.md; one that is not written yet keeps every rule.
KNOW_NO_OTEL = {f"telemetry.{name}" for name in ("counts", "profile", "drift", "timeline", "tail_sampling")}
KNOW_THE_SDK = {
    f"telemetry.{name}" for name in ("providers", "producer", "spans", "trace_ring", "prometheus", "testing")
}

# Grafana provisions files in the Classic model only, which its SDK calls deprecated as soon as it is imported.
SDK_PREFERS_V2 = "ignore:Prefer using dashboardv2.Dashboard instead:DeprecationWarning"

# Imports every module afresh (ours, not what they lean on), and prints what a module left behind.
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
    for loaded in [m for m in sys.modules if m.split(".")[0] in ("service", "telemetry", "grafana")]:
        del sys.modules[loaded]
    importlib.import_module(name)
    if threading.active_count() > 1 or sockets() or os.listdir():
        raise SystemExit(f"{name}: {threading.enumerate()}, {sockets()} sockets, files {os.listdir()}")
print(len(sys.argv) - 1)
"""


def _modules(package: str) -> dict[str, Path]:
    """Dotted name -> file, of every module of a package."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files)
    return dict(zip(names, files, strict=True))


OURS = {name: file for package in PACKAGES for name, file in _modules(package).items()}


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
    """What a module imports, and what those of ours import that it imports."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        new = _imports(waiting.pop()) - reached
        reached |= new
        waiting.extend(new & OURS.keys())
    return reached


def _within(names: Iterable[str], package: str) -> list[str]:
    return sorted(name for name in names if name == package or name.startswith(f"{package}."))


def _calls(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(OURS[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2]


@pytest.mark.parametrize("module", _modules("telemetry"))
def test_telemetry_never_imports_service(module: str) -> None:
    """What is measured is usable without the service."""
    assert _within(_imports(module), "service") == []


@pytest.mark.parametrize("module", sorted(OURS))
def test_dashboards_only_read_names(module: str) -> None:
    """Dashboards know the names of what is measured and nothing else of us; nothing else knows the dashboards."""
    if module in _modules("grafana"):
        assert [name for name in _within(_imports(module), "telemetry") if not name.startswith("telemetry.names")] in (
            [],
            ["telemetry"],
        )
        assert _within(_imports(module), "service") == []
    else:
        assert _within(_imports(module), "grafana") == []


@pytest.mark.parametrize("module", sorted(KNOW_NO_OTEL & OURS.keys()))
def test_arithmetic_knows_no_opentelemetry(module: str) -> None:
    """Counts, profile, drift, timeline and sampling run without OpenTelemetry, through whatever they import."""
    assert _within(_reaches(module), "opentelemetry") == []


@pytest.mark.parametrize("module", sorted(OURS.keys() - KNOW_THE_SDK))
def test_only_the_way_out_imports_the_sdk(module: str) -> None:
    """The SDK can be replaced in the modules that hand data to it; the rest knows the API at most."""
    assert _within(_imports(module), "opentelemetry.sdk") == []


@pytest.mark.parametrize("module", sorted(_modules("telemetry").keys() - {"telemetry.sklearn"}))
def test_only_the_drop_ins_import_scikit_learn(module: str) -> None:
    """Telemetry measures any model; its drop-in transformers alone know scikit-learn."""
    assert _within(_imports(module), "sklearn") == []


@pytest.mark.parametrize("module", sorted(OURS.keys() - {"service.app", "telemetry.measurement"}))
def test_only_the_app_imports_the_providers(module: str) -> None:
    """Providers are built where the parts are wired: by the app, and by a measurement without the service."""
    assert _within(_imports(module), "telemetry.providers") == []


@pytest.mark.parametrize("module", sorted(OURS.keys() - {"service.app", "service.settings"}))
def test_only_the_app_builds_settings(module: str) -> None:
    """Settings are read once, where the parts are wired; everything else is handed them."""
    assert {"Settings", "load_settings"}.isdisjoint(_calls(module))


def test_no_import_has_side_effects(tmp_path: Path) -> None:
    """Importing any module, in any order, starts no thread, opens no socket, writes no file and warns of nothing."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", SDK_PREFERS_V2, "-c", _IMPORT_ALL, *OURS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout.strip(), done.stderr) == (str(len(OURS)), "")
