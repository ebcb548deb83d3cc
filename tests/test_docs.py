"""What the documents say is true: settings, the map of the repository, links, dependencies."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from docs import alerts, metrics, otel, settings, site
from sightline_service.settings import OF_CLIENTS, PREFIX, Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "prometheus").rglob("*.md")])
PACKAGES = (Path("telemetry/sightline_telemetry"), Path("service/sightline_service"))
ROOMS = sorted(
    path.relative_to(ROOT)
    for package in PACKAGES
    for path in (ROOT / package).iterdir()
    if path.is_dir() != (path.suffix == ".py") and not path.name.startswith("__")
)
SETTINGS = sorted(PREFIX + name.upper() for name in Settings.model_fields)


def _dependencies() -> list[str]:
    """Every package that one of the two distributions brings along, with an extra or without."""
    found: set[str] = set()
    for folder in ("telemetry", "service"):
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        listed = [
            *project["dependencies"],
            *(text for texts in project["optional-dependencies"].values() for text in texts),
        ]
        found |= {Requirement(text).name for text in listed}
    return sorted(found - {"sightline-telemetry"})


def _map() -> dict[str, str]:
    """Path -> its description, from the block under "The map".

    Two spaces deeper is a folder further in; a line indented further than that goes on with the line before.
    """
    section = ARCHITECTURE.read_text().partition("\n## The map\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if re.match(r" {4,}\S", line)]
    described: dict[str, str] = {}
    folders: list[str] = []
    for line in lines:
        depth, odd = divmod(len(line) - len(line.lstrip()) - 4, 2)
        if odd or depth > len(folders):
            described[next(reversed(described))] += " " + line.strip()
            continue
        name, _, meaning = line.strip().partition(" ")
        del folders[depth:]
        described["".join(folders) + name.rstrip("/")] = meaning.strip()
        if name.endswith("/"):
            folders.append(name)
    return described


def _links(page: Path) -> Iterator[str]:
    """Targets in this repository of a page's links and pictures, without their anchors."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(<?([^)>\s]+)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text):
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z][a-z+.-]*:", path):
            yield path


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md"],  # it names settings of older versions
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_no_page_names_a_setting_that_is_not(page: Path) -> None:
    """A page promises only settings that exist."""
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", page.read_text())) - {*SETTINGS, *OF_CLIENTS} == set()


def test_everything_on_the_map_exists() -> None:
    """Each file and folder that the map names exists."""
    described = _map()
    assert described, "docs/architecture.md has no block indented by four spaces under '## The map'"
    assert [path for path in described if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_every_room_is_on_the_map(room: Path) -> None:
    """Each folder and module of the two packages has its line on the map."""
    assert str(room) in _map()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page points at a file or folder that exists."""
    assert [path for path in _links(page) if not (page.parent / path).exists()] == []


@pytest.mark.parametrize("name", _dependencies())
def test_every_dependency_has_its_reason(name: str) -> None:
    """Each package that an installation brings along is accounted for."""
    assert f"\n- `{name}`: " in (ROOT / "docs/decisions/0001-dependencies.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_a_page_imports_what_exists(page: Path) -> None:
    """The Python that a page shows is Python, and what it imports of ours is there."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sightline_"):
                module = import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_page_of_metrics_is_up_to_date() -> None:
    """docs/metrics.md is what `make docs` makes of telemetry/sightline_telemetry/instruments.py."""
    assert metrics.PAGE.read_text(encoding="utf-8") == metrics.metrics_page()


def test_the_page_of_settings_is_up_to_date() -> None:
    """docs/settings.md is what `make docs` makes of service/sightline_service/settings.py."""
    assert settings.PAGE.read_text(encoding="utf-8") == settings.settings_page()


def test_the_page_of_opentelemetry_is_up_to_date() -> None:
    """docs/otel.md is what `make docs` makes of telemetry/sightline_telemetry/export/variables.py."""
    assert otel.PAGE.read_text(encoding="utf-8") == otel.otel_page()


def test_the_page_of_alerts_is_up_to_date() -> None:
    """docs/alerts.md is what `make docs` makes of the rules and their runbooks."""
    assert alerts.PAGE.read_text(encoding="utf-8") == alerts.alerts_page()


def test_every_page_is_in_the_menu_of_the_site() -> None:
    """Each page of docs/, but for single decisions, has its place in the site's menu."""
    menu = site.CONFIG.read_text(encoding="utf-8").partition("\nnav = [\n")[2].partition("\n]\n")[0]
    pages = {str(path) for path in site.pages() if path.parent == Path("docs") and path.suffix == ".md"}
    assert pages == {page for page in re.findall(r'"(\S+\.md)"', menu) if page.startswith("docs/")} - {
        "docs/decisions/README.md"
    }


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_explained(setting: str) -> None:
    """The page of settings has a row for each setting, with a sentence."""
    (row,) = [line for line in settings.settings_page().splitlines() if line.startswith(f"| `{setting}` |")]
    assert row.endswith(". |")


def test_the_readme_is_short() -> None:
    """The README has fewer than 120 lines."""
    assert len(README.read_text().splitlines()) < 120
