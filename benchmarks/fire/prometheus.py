"""A real Prometheus that scrapes the service itself, once per second, without a collector between them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode
from urllib.request import urlopen

from benchmarks.load import HOST
from tests.stack.polling import poll_until
from tests.stack.processes import Process, binary, free_port

_CONFIG = """\
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: service
    static_configs:
      - targets: ["{host}:{port}"]
"""


class Prometheus:
    """The query API of a running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}/api/v1/query?"

    def value(self, expression: str) -> float | None:
        """Returns the value of an expression that has one series; None if it has none now."""
        with urlopen(self._url + urlencode({"query": expression}), timeout=10) as answer:  # noqa: S310  # loopback
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def value_after(self, series: str, unix_s: float) -> int:
        """Returns the sum of some series as soon as all have been scraped after a point in time."""

        def is_newer() -> bool:
            scraped_s = self.value(f"min(timestamp({series}))")
            return scraped_s is not None and scraped_s > unix_s

        poll_until(is_newer, 30)
        return int(self.value(f"sum({series})") or 0)


@contextmanager
def scraping(port: int) -> Iterator[Prometheus]:
    """Runs Prometheus until the end of the block; it scrapes `/metrics` of one port."""
    own = free_port()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prometheus.yml").write_text(_CONFIG.format(host=HOST, port=port), encoding="utf-8")
        command: list[str | Path] = [
            binary("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{own}",
        ]
        with Process("prometheus", command, f"http://{HOST}:{own}/-/ready", folder / "log"):
            yield Prometheus(own)
