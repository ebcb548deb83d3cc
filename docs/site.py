"""Builds the site of the documents: `make docs-site`.

Pages keep the places that they have in the repository, so that every relative link leads to the same file here and on
GitHub. Files that a page links to and that are no pages (a setting, a module) are copied as they are. zensical checks
the links, and one that leads nowhere ends the build.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = ROOT / ".site"
CONFIG = ROOT / "docs" / "site.toml"
FOLDERS = ("docs", "prometheus/runbooks")
SINGLE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "benchmarks/results.md",
    "docs/site.css",
)


def pages() -> list[Path]:
    """The pages of the site, relative to the repository."""
    return [*map(Path, SINGLE), *(path.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).rglob("*.md"))]


def linked_files(page: Path) -> set[Path]:
    """Files of the repository that a page links to, relative to the repository."""
    targets = re.findall(r"\]\(([^)#:\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    paths = {(ROOT / page.parent / target).resolve() for target in targets}
    return {path.relative_to(ROOT) for path in paths if path.is_file()}


def stage(folder: Path) -> None:
    """Copies the pages, and the files that they link to, into a folder of the same layout."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in {file for page in pages() for file in {page, *linked_files(page)}}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)


if __name__ == "__main__":
    stage(SITE / "pages")
    shutil.copyfile(CONFIG, SITE / "zensical.toml")
    built = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=SITE, check=False)
    sys.exit(built.returncode)
