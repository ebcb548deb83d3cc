"""Makes the README's picture from a real run of the demo.

uv run python docs/picture.py
"""

from pathlib import Path

from rich.console import Console

from sightline_service.cli import DEMO_BUNDLE
from sightline_service.demo.run import Demo

if __name__ == "__main__":
    console = Console(record=True, width=118, log_path=False)
    Demo(DEMO_BUNDLE, port=8000, rate=20, duration_s=20, console=console).run()
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="make demo")
