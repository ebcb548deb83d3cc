"""What single pieces cost, measured in one process without a server: what the scripts beside this file print."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.profile import FULL, RunProfile
from benchmarks.servers import ROOT, bare_environment

SCRIPTS = ("request_cost.py", "log_cost.py", "label_cost.py", "batch_cost.py")
QUICK = {"batch_cost.py": ("200000",)}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one script is for, by its first line, and what it printed."""

    script: str
    what: str
    printed: str


def measure(run_profile: RunProfile, console: Console) -> Iterator[list[Cost]]:
    """Runs the scripts one after the other; gives what there is after each."""
    costs: list[Cost] = []
    for script in SCRIPTS:
        file = ROOT / "benchmarks" / script
        command = [sys.executable, str(file), *(() if run_profile == FULL else QUICK.get(script, ()))]
        ended = subprocess.run(  # noqa: S603  # the scripts of this folder
            command, cwd=ROOT, env=bare_environment(), stdout=subprocess.PIPE, text=True, check=True
        )
        what = file.read_text(encoding="utf-8").splitlines()[0].removeprefix('"""')
        costs.append(Cost(script, what, ended.stdout.rstrip()))
        console.print(*section(costs[-1:]), sep="\n")
        yield costs


def section(costs: Sequence[Cost]) -> list[str]:
    """What each script printed."""
    lines: list[str] = []
    for cost in costs:
        lines += ["", f"`{cost.script}`: {cost.what}", "", "```text", cost.printed, "```"]
    return lines[1:]
