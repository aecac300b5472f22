"""Tests of the alerts: files/alerts.yaml, its cases, its runbooks, and the metrics that it reads.

Run by `.ci/chart`, with the environment of test_chart.py. PROMTOOL names promtool (default: promtool);
without it the rules are not checked.
"""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml
from metric_names import EXISTING, is_kept, names_in
from test_chart import BINARIES, CHART, config_files, named, render

DOCS = CHART.parent.parent / "docs"
RULES = CHART / "files/alerts.yaml"
CASES = CHART / "tests/alerts_test.yaml"
PROMTOOL = os.environ.get("PROMTOOL", "promtool")
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
SECTIONS = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", (DOCS / "runbooks.md").read_text(), re.M | re.S))


def promtool(*arguments):
    run = subprocess.run([PROMTOOL, *map(str, arguments)], text=True, capture_output=True)
    if run.returncode:
        raise AssertionError(run.stdout + run.stderr)


@unittest.skipUnless(shutil.which(PROMTOOL), "promtool is not installed")
class Promtool(unittest.TestCase):
    def test_the_rules_are_valid_and_their_cases_pass(self):
        promtool("check", "rules", RULES)
        promtool("test", "rules", CASES)

    def test_the_rendered_rules_are_valid(self):
        files = config_files(render({"alerts": {"enabled": True}}))
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(files["promesh.yaml"])
            file.flush()
            promtool("check", "rules", file.name)


class Alerts(unittest.TestCase):
    def test_each_has_a_runbook_with_its_summary_and_severity(self):
        self.assertEqual(sorted(ALERTS), sorted(SECTIONS))
        for name, alert in ALERTS.items():
            head = f"**{alert['annotations']['summary']}.** Severity: {alert['labels']['severity']}."
            self.assertTrue(SECTIONS[name].startswith(head), f"{name}: the runbook does not start with {head}")
            self.assertEqual(alert["annotations"]["runbook_url"], f"docs/runbooks.md#{name.lower()}")

    def test_each_fires_in_a_case_and_not_in_a_healthy_mesh(self):
        fires, silent = set(), set()
        for case in yaml.safe_load(CASES.read_text())["tests"]:
            for test in case["alert_rule_test"]:
                (fires if test["exp_alerts"] else silent).add(test["alertname"])
        self.assertEqual(fires, set(ALERTS))
        self.assertEqual(silent, set(ALERTS) - {"PromeshWatchdog"})

    def test_their_metrics_exist_and_the_job_promesh_stores_them(self):
        for name, alert in ALERTS.items():
            for metric in names_in(alert["expr"]):
                self.assertIn(metric, EXISTING, f"{name}: docs/metrics.md does not list {metric}")
                self.assertTrue(is_kept(metric), f"{name}: files/metrics.yaml drops {metric}")

    def test_runbooks_name_existing_metrics_and_flags(self):
        text = (DOCS / "runbooks.md").read_text()
        for metric in names_in(text):
            self.assertIn(metric, EXISTING)
        if not BINARIES:
            self.skipTest("BINARIES is not set")
        helps = [subprocess.run([Path(BINARIES) / service, "--help"], text=True, capture_output=True, check=True).stdout
                 for service in ("receiver-svc", "exporter-svc", "gateway")]
        for flag in re.findall(r"`(--[a-z]+\.[a-z.-]+)", text):
            self.assertTrue(any(flag + " " in help or flag + "=" in help for help in helps), f"no service has {flag}")

    def test_the_chart_offers_them_with_labels_quotas_and_runbooks(self):
        self.assertNotIn("promesh-alerts", [d["metadata"]["name"] for d in render()])
        values = {"alerts": {
            "enabled": True, "kind": "PrometheusRule", "labels": {"release": "kps"},
            "runbooks": "https://wiki.test/runbooks.md", "quotas": {"activeSeries": 2000000}}}
        rule = named(render(values), "PrometheusRule", "promesh-alerts")
        self.assertEqual(rule["metadata"]["labels"]["release"], "kps")
        rules = [rule for group in rule["spec"]["groups"] for rule in group["rules"]]
        quotas = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
        self.assertEqual(quotas, {"promesh:quota_active_series": "2000000", "promesh:quota_samples_per_second": "170000"})
        urls = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
        self.assertEqual(urls, {f"https://wiki.test/runbooks.md#{name.lower()}" for name in ALERTS})


if __name__ == "__main__":
    unittest.main()
