"""Names of promesh's metrics: those that exist, and those that the job promesh stores."""

import re
from pathlib import Path

import yaml

CHART = Path(__file__).parent.parent
ROWS = re.findall(r"^\| `(\w+)` \| (\w+) \|", (CHART.parent.parent / "docs/metrics.md").read_text(), re.M)
LISTS = yaml.safe_load((CHART / "files/metrics.yaml").read_text())["promesh"]

EXISTING = set()
for row, kind in ROWS:
    EXISTING |= {row + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {row}


def names_in(text):
    """Metrics of promesh in PromQL or in a document."""
    return set(re.findall(r"\b(?:promesh|process)_[a-z_]+\b", text))


def is_kept(name):
    """Returns true if the job stores the metric with `metrics: default`."""
    return re.fullmatch("|".join(LISTS["minimal"] + LISTS["default"]), name) is not None
