"""Each alert fires on what it is for, and on nothing else, over the rules that Prometheus loads."""

from pathlib import Path

import pytest

from tests.prometheus.cases import AT_S, CASES, LATER, LATER_S, TIMING
from tests.prometheus.promtool import check, together

pytestmark = pytest.mark.stack


def test_each_case_has_its_alerts_and_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every deployment of the cases has the alerts that it names, and no other alert fires for it."""
    check(tmp_path, TIMING, [*together(CASES, AT_S), *together(LATER, LATER_S)])
    with capsys.disabled():
        print(f"{len(CASES) + len(LATER)} deployments, each with its alerts and no others")
