"""Tests of the chart: renders it with helm and reads the result.

Run by `.ci/chart`. HELM names the helm binary, BINARIES the folder with the services; without the
latter they do not check what is rendered for them. KUBECTL is the command of a kubectl with its flags, for
an API server that the tests may write to: they create the namespace `chart-test` with Pod Security
`restricted`, and apply the examples there as a dry run with strict validation.
"""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

CHART = Path(__file__).parent.parent
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
HELM = os.environ.get("HELM", "helm")
BINARIES = os.environ.get("BINARIES")
AMP = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write"
BASE = {"cluster": "c", "remoteWrite": [{"url": AMP, "sigv4": {"region": "eu-west-1"}}]}
NO_JOBS = {name: {"enabled": False} for name in (
    "kubelet", "cadvisor", "apiserver", "kubeStateMetrics", "nodeExporter", "pods", "services", "promesh")}
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def merged(base, changes):
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def helm_template(values, release="promesh", namespace="metrics"):
    command = [HELM, "template", release, str(CHART), "--namespace", namespace, "--values", "-"]
    return subprocess.run(command, input=yaml.safe_dump(values), text=True, capture_output=True)


def render(changes=None, base=BASE, **kwargs):
    run = helm_template(merged(base, changes or {}), **kwargs)
    if run.returncode:
        raise AssertionError(run.stderr)
    return [document for document in yaml.safe_load_all(run.stdout) if document]


def refused(changes, base=BASE):
    run = helm_template(merged(base, changes))
    if not run.returncode:
        raise AssertionError(f"accepted: {changes}")
    return run.stderr


def of_kind(documents, *kinds):
    return [d for d in documents if d["kind"] in kinds]


def named(documents, kind, name):
    return next(d for d in of_kind(documents, kind) if d["metadata"]["name"] == name)


def workloads(documents):
    return of_kind(documents, "Deployment", "StatefulSet", "DaemonSet")


def container(workload):
    return workload["spec"]["template"]["spec"]["containers"][0]


def config_files(documents):
    return {name: text for d in of_kind(documents, "ConfigMap") for name, text in d["data"].items()}


def granted(documents, account):
    """The permissions of an account: (namespace or *, verb, resource or path)."""
    rules = {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d["rules"]
             for d in of_kind(documents, "Role", "ClusterRole")}
    result = set()
    for binding in of_kind(documents, "RoleBinding", "ClusterRoleBinding"):
        if account not in [s["name"] for s in binding["subjects"]]:
            continue
        namespace = binding["metadata"].get("namespace")
        reference = binding["roleRef"]
        scope = namespace if reference["kind"] == "Role" else None
        for rule in rules[reference["kind"], scope, reference["name"]]:
            for verb in rule["verbs"]:
                for group in rule.get("apiGroups", [""]):
                    for resource in rule.get("resources", []):
                        name = f"{group}/{resource}" if group else resource
                        result.add((namespace or "*", verb, name))
                for path in rule.get("nonResourceURLs", []):
                    result.add(("*", verb, path))
    return result


def watching(namespace, *resources):
    return {(namespace, verb, resource) for resource in resources for verb in ("list", "watch")}


# What every receiver needs to find the exporters and its group.
PEERS = watching("metrics", "discovery.k8s.io/endpointslices")


def prometheus_yml(jobs):
    return yaml.safe_dump({
        "global": {"external_labels": {"cluster": "${CLUSTER}", "__replica__": "${REPLICA}"}},
        "scrape_configs": jobs,
    })


class Examples(unittest.TestCase):
    def test_names_and_namespaces_follow_the_release(self):
        for example in EXAMPLES:
            values = yaml.safe_load(example.read_text())
            run = helm_template(values, release="blue", namespace="observability")
            self.assertEqual(run.returncode, 0, run.stderr)
            for document in yaml.safe_load_all(run.stdout):
                if not document:
                    continue
                if document["metadata"]["name"] == values.get("priorityClass", {}).get("name"):
                    continue
                with self.subTest(example=example.stem, kind=document["kind"]):
                    self.assertTrue(document["metadata"]["name"].startswith("blue-promesh"))
                    for subject in document.get("subjects", []):
                        self.assertEqual(subject["namespace"], "observability")
                    if document in workloads([document]):
                        for argument in container(document)["args"]:
                            if "k8s:///" in argument:
                                self.assertIn("k8s:///observability/blue-promesh-", argument)

    def test_long_names_stay_within_the_limits_of_labels(self):
        name = "promesh-of-the-platform-team-in-production-at-last"
        values = merged(BASE, {"receivers": {"mode": "DaemonSet", "groups": [{"name": "primary1"}],
                                             "outbox": {"size": "512Mi", "maxBytes": "400MiB"}}})
        for workload in workloads(render(base=values, release=name, namespace="n" * 63)):
            # A controller adds a hash of ten characters, in a label of at most 63.
            self.assertLessEqual(len(workload["metadata"]["name"]), 52)

    def test_pods_meet_the_restricted_pod_security_standard(self):
        for example in EXAMPLES:
            for workload in workloads(render(base=yaml.safe_load(example.read_text()))):
                with self.subTest(example=example.stem, name=workload["metadata"]["name"]):
                    pod = workload["spec"]["template"]["spec"]
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    for volume in pod.get("volumes", []):
                        self.assertFalse({"hostPath"} & set(volume))
                    self.assertEqual(container(workload)["securityContext"], {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    })

    def test_pods_have_probes_bounded_disks_and_time_to_drain(self):
        for example in EXAMPLES:
            for workload in workloads(render(base=yaml.safe_load(example.read_text()))):
                with self.subTest(example=example.stem, name=workload["metadata"]["name"]):
                    main = container(workload)
                    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                        self.assertIn("httpGet", main[probe])
                    for kind in ("requests", "limits"):
                        self.assertIn("ephemeral-storage", main["resources"][kind])
                    timeout = next(a for a in main["args"] if a.startswith("--shutdown.timeout="))
                    seconds = int(timeout.split("=")[1].rstrip("s"))
                    grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                    self.assertEqual(grace, seconds + 30)
                    self.assertLessEqual(grace, 120, "longer than a spot interruption leaves")

    def test_no_replicas_where_an_autoscaler_owns_them(self):
        for example in EXAMPLES:
            documents = render(base=yaml.safe_load(example.read_text()))
            scaled = {(d["spec"]["scaleTargetRef"]["kind"], d["spec"]["scaleTargetRef"]["name"])
                      for d in of_kind(documents, "HorizontalPodAutoscaler")}
            for workload in workloads(documents):
                name = workload["metadata"]["name"]
                with self.subTest(example=example.stem, name=name):
                    owned = (workload["kind"], name) in scaled or workload["kind"] == "DaemonSet"
                    self.assertEqual("replicas" in workload["spec"], not owned)
            names = {(w["kind"], w["metadata"]["name"]) for w in workloads(documents)}
            self.assertLessEqual(scaled, names)

    @unittest.skipUnless(BINARIES, "BINARIES is not set")
    def test_the_services_accept_their_flags(self):
        for example in EXAMPLES:
            for workload in workloads(render(base=yaml.safe_load(example.read_text()))):
                with self.subTest(example=example.stem, name=workload["metadata"]["name"]):
                    main = container(workload)
                    flags = [argument.replace("$(POD_IP)", "10.0.0.1") for argument in main["args"]]
                    # --help comes last, so the flags before it are parsed.
                    command = [Path(BINARIES, main["name"]), *flags, "--help"]
                    run = subprocess.run(command, text=True, capture_output=True)
                    self.assertEqual(run.returncode, 0, run.stderr)

    @unittest.skipUnless(BINARIES, "BINARIES is not set")
    def test_rendered_configurations_pass_the_check_of_the_receiver(self):
        for example in EXAMPLES:
            values = yaml.safe_load(example.read_text())
            for level in ("minimal", "default", "all"):
                leveled = {name: {"metrics": level} for name in NO_JOBS if name not in ("pods", "services")}
                files = config_files(render({"jobs": leveled}, base=values))
                with tempfile.TemporaryDirectory() as folder:
                    for name, text in files.items():
                        Path(folder, name).write_text(text)
                    for name in ("prometheus.yml", "cluster.yml"):
                        if name in files:
                            with self.subTest(example=example.stem, file=name, metrics=level):
                                self.check(Path(folder, name))

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_accepts_the_default_jobs(self):
        for example in EXAMPLES:
            files = config_files(render(base=yaml.safe_load(example.read_text())))
            with tempfile.TemporaryDirectory() as folder:
                for name in {"default-jobs.yml", "cluster-jobs.yml"} & set(files):
                    path = Path(folder, name)
                    jobs = yaml.safe_load(files[name])
                    for job in jobs["scrape_configs"]:
                        # Debian's promtool has no Kubernetes discovery.
                        job.pop("kubernetes_sd_configs", None)
                    path.write_text(yaml.safe_dump(jobs))
                    command = ["promtool", "check", "config", "--syntax-only", str(path)]
                    run = subprocess.run(command, text=True, capture_output=True)
                    self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def check(self, path):
        command = [Path(BINARIES, "receiver-svc"), "check", "--syntax-only", str(path)]
        environment = {"CLUSTER": "c", "REPLICA": "a"}
        run = subprocess.run(command, env=environment, text=True, capture_output=True)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


class Documents(unittest.TestCase):
    def test_the_values_in_the_guide_render(self):
        text = (CHART.parent.parent / "docs/install.md").read_text()
        blocks = [b for b in re.findall(r"```yaml\n(.*?)```", text, re.S) if b.startswith("cluster:")]
        self.assertGreaterEqual(len(blocks), 2)
        for block in blocks:
            self.assertTrue(workloads(render(base=yaml.safe_load(block))))

    def test_the_names_that_the_guide_binds_roles_to_exist(self):
        documents = render(namespace="promesh")
        self.assertTrue(named(documents, "ServiceAccount", "promesh-exporter"))
        self.assertTrue(named(documents, "StatefulSet", "promesh-receiver-a"))

    def test_each_top_level_value_is_documented(self):
        lines = (CHART / "values.yaml").read_text().splitlines()
        keys = [number for number, line in enumerate(lines) if re.match("[a-zA-Z]+:", line)]
        self.assertEqual([lines[n] for n in keys if not lines[n - 1].startswith("#")], [])


class Configuration(unittest.TestCase):
    def test_the_file_stays_verbatim_and_missing_sections_are_added(self):
        text = "scrape_configs:\n  - job_name: x # a comment\n    static_configs: [{targets: [on, 1.10]}]\n"
        files = config_files(render({"config": {"prometheus": text}}))
        self.assertTrue(files["prometheus.yml"].startswith(text))
        parsed = yaml.safe_load(files["prometheus.yml"])
        self.assertEqual(parsed["global"]["external_labels"], {"cluster": "${CLUSTER}", "__replica__": "${REPLICA}"})
        self.assertEqual(parsed["remote_write"], BASE["remoteWrite"])
        self.assertEqual(parsed["scrape_config_files"], ["default-jobs.yml"])

    def test_templates_in_the_file_are_not_expanded(self):
        text = "global: {external_labels: {cluster: c, __replica__: $REPLICA, x: '{{ $y }}'}}\n"
        files = config_files(render({"config": {"prometheus": text}}))
        self.assertIn("x: '{{ $y }}'", files["prometheus.yml"])

    def test_large_numbers_survive(self):
        write = {"url": "https://b.example/w", "queue_config": {"max_samples_per_send": 2000000}}
        files = config_files(render({"remoteWrite": [write]}))
        self.assertEqual(yaml.safe_load(files["prometheus.yml"])["remote_write"], [write])

    def test_the_region_of_a_signature_is_optional(self):
        self.assertTrue(render({"remoteWrite": [{"url": AMP, "sigv4": {}}]}))

    def test_own_scrape_config_files_keep_the_default_jobs(self):
        text = "scrape_config_files: [mine.yml, default-jobs.yml]\n"
        files = config_files(render({"config": {"prometheus": text, "files": {"mine.yml": "scrape_configs: []"}}}))
        self.assertEqual(files["prometheus.yml"].count("scrape_config_files"), 1)
        self.assertIn("job_name: kubelet", files["default-jobs.yml"])
        self.assertEqual(files["mine.yml"].strip(), "scrape_configs: []")

    def test_each_default_job_is_a_switch(self):
        jobs = {"kubelet": ["kubelet"], "cadvisor": ["cadvisor"], "apiserver": ["kube-apiserver"],
                "kubeStateMetrics": ["kube-state-metrics"], "nodeExporter": ["node-exporter"],
                "pods": ["kubernetes-pods"], "services": ["kubernetes-services"], "promesh": ["promesh"]}
        for switch, expected in jobs.items():
            files = config_files(render({"jobs": merged(NO_JOBS, {switch: {"enabled": True}})}))
            found = [j["job_name"] for j in yaml.safe_load(files["default-jobs.yml"])["scrape_configs"]]
            self.assertEqual(found, expected)
        self.assertNotIn("default-jobs.yml", config_files(render({"jobs": NO_JOBS})))

    def test_all_stores_everything_and_minimal_is_part_of_default(self):
        lists = yaml.safe_load((CHART / "files/metrics.yaml").read_text())
        for level, count in (("minimal", 1), ("default", 1), ("all", 0)):
            files = config_files(render({"jobs": {name: {"metrics": level} for name in NO_JOBS if name not in ("pods", "services")}}))
            for job in yaml.safe_load(files["default-jobs.yml"])["scrape_configs"]:
                keeps = [r for r in job.get("metric_relabel_configs", []) if r["action"] == "keep"]
                if job["job_name"] in lists:
                    self.assertEqual(len(keeps), count, job["job_name"])
                    for names in (lists[job["job_name"]]["minimal"] if count else []):
                        self.assertIn(names, keeps[0]["regex"])

    def test_finished_pods_are_no_targets(self):
        files = config_files(render())
        for job in yaml.safe_load(files["default-jobs.yml"])["scrape_configs"]:
            roles = {sd["role"] for sd in job["kubernetes_sd_configs"]}
            if "pod" in roles:
                rules = [r.get("regex") for r in job["relabel_configs"] if r.get("action") == "drop"]
                self.assertIn("Pending|Succeeded|Failed", rules, job["job_name"])

    def test_a_changed_configuration_changes_the_pods_only_if_asked_for(self):
        def templates(changes):
            return {w["metadata"]["name"]: w["spec"]["template"] for w in workloads(render(changes))}
        changed = {"config": {"scrapeInterval": "15s"}}
        self.assertEqual(templates({}), templates(changed))
        on = {"config": {"restartOnChange": True}}
        self.assertNotEqual(templates(on), templates(merged(on, changed)))

    def test_gateways_alone_need_no_scrape_configuration(self):
        documents = render({"receivers": {"enabled": False}, "gateways": {"enabled": True}})
        self.assertEqual(list(config_files(documents)), ["prometheus.yml"])
        self.assertEqual(granted(documents, "promesh-gateway"), PEERS)


class DaemonSets(unittest.TestCase):
    VALUES = {"receivers": {"mode": "DaemonSet", "groups": [{"name": "a"}],
                            "outbox": {"size": "512Mi", "maxBytes": "400MiB"}}}

    def test_nodes_and_the_cluster_are_scraped_by_different_pods(self):
        documents = render(merged(self.VALUES, {"config": {"clusterJobs": "- job_name: x\n  static_configs: [{targets: [y]}]"}}))
        files = config_files(documents)
        of_nodes = [j["job_name"] for j in yaml.safe_load(files["default-jobs.yml"])["scrape_configs"]]
        of_cluster = [j["job_name"] for j in yaml.safe_load(files["cluster-jobs.yml"])["scrape_configs"]]
        self.assertEqual(of_cluster, ["kube-apiserver", "x"])
        self.assertFalse(set(of_nodes) & set(of_cluster))
        nodes = named(documents, "DaemonSet", "promesh-receiver-a")
        self.assertIn({"name": "PROMESH_DISCOVERY_NODE_LOCAL", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                      container(nodes)["env"])
        self.assertFalse([a for a in container(nodes)["args"] if a.startswith("--shard")])
        cluster = named(documents, "StatefulSet", "promesh-receiver-cluster-a")
        self.assertIn("--config.file=/etc/promesh/cluster.yml", container(cluster)["args"])

    def test_no_statefulset_without_jobs_for_it(self):
        documents = render(merged(self.VALUES, {"jobs": {"apiserver": {"enabled": False}}}))
        self.assertEqual(of_kind(documents, "StatefulSet"), [])

    def test_the_cluster_file_has_all_sections_but_the_jobs(self):
        text = ("global:\n  external_labels: {cluster: c, __replica__: $REPLICA, x: on}\n"
                "# of nodes\nscrape_configs:\n- job_name: p\n  kubernetes_sd_configs:\n  - role: pod\n\n"
                "remote_write:\n  - url: https://b.example/w\n")
        values = merged({**BASE, "remoteWrite": []}, self.VALUES)
        files = config_files(render({"config": {"prometheus": text}}, base=values))
        cluster = yaml.safe_load(files["cluster.yml"])
        self.assertEqual(set(cluster), {"global", "remote_write", "scrape_config_files"})
        self.assertIn("x: on", files["cluster.yml"])
        self.assertEqual(cluster["scrape_config_files"], ["cluster-jobs.yml"])

    def test_jobs_without_a_node_are_refused(self):
        for job, key in (({"static_configs": [{"targets": ["y"]}]}, "static_configs"),
                         ({"kubernetes_sd_configs": [{"role": "service"}]}, "role service")):
            error = refused(merged(self.VALUES, {"config": {"prometheus": prometheus_yml([{"job_name": "x", **job}])}}))
            self.assertIn(key, error)
            self.assertIn("config.clusterJobs", error)


class Permissions(unittest.TestCase):
    def of(self, jobs, **values):
        changes = {"jobs": NO_JOBS, "config": {"prometheus": prometheus_yml(jobs)}, **values}
        return granted(render(changes), "promesh-receiver")

    def discovering(self, **sd):
        return self.of([{"job_name": "x", "kubernetes_sd_configs": [sd]}]) - PEERS

    def test_each_role_gets_what_it_watches(self):
        slices = "discovery.k8s.io/endpointslices"
        for role, resources in {
            "node": ["nodes"], "pod": ["pods"], "service": ["services"],
            "endpoints": ["endpoints", "services", "pods"], "endpointslice": [slices, "services", "pods"],
            "ingress": ["networking.k8s.io/ingresses"],
        }.items():
            self.assertEqual(self.discovering(role=role), watching("*", *resources), role)

    def test_listed_namespaces_get_roles(self):
        found = self.discovering(role="pod", namespaces={"names": ["shop"], "own_namespace": True})
        self.assertEqual(found, watching("shop", "pods") | watching("metrics", "pods"))
        found = self.discovering(role="node", namespaces={"names": ["shop"]})
        self.assertEqual(found, watching("*", "nodes"))

    def test_attached_metadata_gets_its_objects(self):
        attach = {"node": True, "namespace": True, "deployment": True, "cronjob": True, "job": True}
        found = self.discovering(role="pod", namespaces={"names": ["shop"]}, attach_metadata=attach)
        expected = watching("shop", "pods", "apps/replicasets", "batch/jobs") | watching("*", "nodes", "namespaces")
        self.assertEqual(found, expected)
        self.assertEqual(self.discovering(role="service", attach_metadata=attach), watching("*", "services", "namespaces"))
        self.assertEqual(self.discovering(role="node", attach_metadata=attach), watching("*", "nodes"))

    def test_monitors_get_what_they_select_and_secrets_only_where_asked(self):
        monitors = {"enabled": True, "prometheus": "prometheusagent/mon/k8s", "secretNamespaces": ["shop"]}
        resources = ["servicemonitors", "podmonitors", "probes", "scrapeconfigs", "prometheusagents"]
        expected = watching("*", *(f"monitoring.coreos.com/{resource}" for resource in resources))
        expected |= watching("*", "namespaces", "nodes", "pods", "services", "endpoints",
                             "discovery.k8s.io/endpointslices", "networking.k8s.io/ingresses")
        expected |= {("shop", "get", "secrets"), ("shop", "get", "configmaps")}
        found = self.of([], monitors=monitors)
        self.assertEqual(found - PEERS, expected)
        self.assertEqual(self.of([]) - PEERS, set())

    def test_other_clusters_get_nothing(self):
        self.assertEqual(self.discovering(role="pod", api_server="https://other.example"), set())
        self.assertEqual(self.discovering(role="pod", kubeconfig_file="/etc/k"), set())

    def test_jobs_in_scrape_configuration_files_count(self):
        more = yaml.safe_dump({"scrape_configs": [{"job_name": "y", "kubernetes_sd_configs": [{"role": "ingress"}]}]})
        text = "scrape_config_files: [more.yml]\n"
        changes = {"jobs": NO_JOBS, "config": {"prometheus": text, "files": {"more.yml": more, "t.json": "[]"}}}
        found = granted(render(changes), "promesh-receiver") - PEERS
        self.assertEqual(found, watching("*", "networking.k8s.io/ingresses"))

    def test_a_wide_permission_replaces_narrow_ones(self):
        everywhere = {"job_name": "x", "kubernetes_sd_configs": [{"role": "endpointslice"}]}
        narrow = {"job_name": "y", "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": ["shop"]}}]}
        found = self.of([everywhere, narrow])
        self.assertEqual(found, watching("*", "discovery.k8s.io/endpointslices", "services", "pods"))

    def scraping(self, **job):
        token = {"authorization": {"credentials_file": TOKEN}}
        found = self.of([{"job_name": "x", **token, **job}])
        return {(verb, name) for _, verb, name in found if verb == "get"}

    def test_kubelets_get_the_subresource_of_the_path(self):
        nodes = {"kubernetes_sd_configs": [{"role": "node"}]}
        for path, resource in (("/metrics", "metrics"), ("/metrics/cadvisor", "metrics"), ("/stats/summary", "stats"), ("/pods", "proxy")):
            self.assertEqual(self.scraping(metrics_path=path, **nodes), {("get", f"nodes/{resource}")})
        self.assertEqual(self.scraping(**nodes), {("get", "nodes/metrics")})
        through = {"target_label": "__metrics_path__", "replacement": "/api/v1/nodes/$1/proxy/metrics"}
        self.assertEqual(self.scraping(relabel_configs=[through], **nodes), {("get", "nodes/proxy")})

    def test_api_servers_get_the_path(self):
        targets = {"kubernetes_sd_configs": [{"role": "endpoints", "namespaces": {"names": ["default"]}}]}
        self.assertEqual(self.scraping(**targets), {("get", "/metrics")})
        self.assertEqual(self.scraping(metrics_path="/metrics/slis", **targets), {("get", "/metrics/slis")})
        static = {"static_configs": [{"targets": ["kubernetes.default.svc"]}]}
        self.assertEqual(self.scraping(**static), {("get", "/metrics")})
        found = self.of([{"job_name": "x", "bearer_token_file": TOKEN, **static}])
        self.assertIn(("*", "get", "/metrics"), found)

    def test_targets_without_the_token_get_nothing(self):
        self.assertEqual(self.of([{"job_name": "x", "static_configs": [{"targets": ["y"]}]}]), PEERS)

    def test_services_through_the_api_server_get_the_proxy(self):
        path = {"target_label": "__metrics_path__", "replacement": "/api/v1/namespaces/$1/services/$2/proxy/metrics"}
        self.assertEqual(self.scraping(relabel_configs=[path]), {("get", "services/proxy")})

    def test_default_jobs_get_what_they_need(self):
        account = "promesh-receiver"
        for job, expected in {
            "kubelet": watching("*", "nodes") | {("*", "get", "nodes/metrics")},
            "cadvisor": watching("*", "nodes") | {("*", "get", "nodes/metrics")},
            "apiserver": watching("default", "discovery.k8s.io/endpointslices", "services", "pods") | {("*", "get", "/metrics")},
            "pods": watching("*", "pods"),
            "promesh": watching("metrics", "pods"),
        }.items():
            documents = render({"jobs": merged(NO_JOBS, {job: {"enabled": True}})})
            self.assertEqual(granted(documents, account) - PEERS, expected, job)

    def test_fargate_needs_the_proxy_only_when_asked(self):
        self.assertNotIn(("*", "get", "nodes/proxy"), granted(render(), "promesh-receiver"))
        asked = {"jobs": {"kubelet": {"fargateThroughProxy": True}}}
        self.assertIn(("*", "get", "nodes/proxy"), granted(render(asked), "promesh-receiver"))

    def test_exporters_get_nothing(self):
        documents = render()
        self.assertEqual(granted(documents, "promesh-exporter"), set())
        pod = named(documents, "Deployment", "promesh-exporter")["spec"]["template"]["spec"]
        self.assertFalse(pod["automountServiceAccountToken"])

    def test_an_existing_configmap_states_its_jobs(self):
        changes = {"remoteWrite": [], "config": {"existingConfigMap": "mine"}}
        self.assertIn("rbac.scrapeConfigs", refused(changes))
        changes["rbac"] = {"scrapeConfigs": [{"kubernetes_sd_configs": [{"role": "ingress"}]}]}
        documents = render(changes)
        self.assertEqual(of_kind(documents, "ConfigMap"), [])
        self.assertEqual(granted(documents, "promesh-receiver") - PEERS, watching("*", "networking.k8s.io/ingresses"))


class Placement(unittest.TestCase):
    def test_groups_go_to_their_zones_or_avoid_each_other(self):
        pinned = render({"receivers": {"groups": [{"name": "a", "zones": ["z1"]}, {"name": "b", "zones": ["z2"]}]}})
        for group, zone in (("a", "z1"), ("b", "z2")):
            affinity = named(pinned, "StatefulSet", f"promesh-receiver-{group}")["spec"]["template"]["spec"]["affinity"]
            terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            zones = [e["values"] for e in terms[0]["matchExpressions"] if e["key"] == "topology.kubernetes.io/zone"]
            self.assertEqual(zones, [[zone]])
        free = named(render(), "StatefulSet", "promesh-receiver-a")["spec"]["template"]["spec"]["affinity"]
        term = free["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
        self.assertEqual(term["topologyKey"], "topology.kubernetes.io/zone")

    def test_the_volume_of_a_pod_survives_a_scale_in(self):
        policy = named(render(), "StatefulSet", "promesh-receiver-a")["spec"]["persistentVolumeClaimRetentionPolicy"]
        self.assertEqual(policy["whenScaled"], "Retain")

    def test_an_autoscaler_by_waiting_samples_names_the_metric(self):
        scaling = {"enabled": True, "cpu": 0, "samplesWaiting": 2000000}
        documents = render({"receivers": {"autoscaling": scaling}})
        metrics = named(documents, "HorizontalPodAutoscaler", "promesh-receiver-b")["spec"]["metrics"]
        self.assertEqual(metrics, [{"type": "Pods", "pods": {
            "metric": {"name": "promesh_receiver_outbox_samples_waiting"},
            "target": {"type": "AverageValue", "averageValue": "2000000"}}}])

    def test_a_group_shrinks_only_if_its_autoscaler_sees_waiting_samples(self):
        for waiting, disabled in ((0, True), (1000, False)):
            documents = render({"receivers": {"autoscaling": {"enabled": True, "samplesWaiting": waiting}}})
            behavior = named(documents, "HorizontalPodAutoscaler", "promesh-receiver-a")["spec"]["behavior"]
            self.assertEqual(behavior["scaleDown"].get("selectPolicy") == "Disabled", disabled)

    def test_ipv6_addresses_of_pods_have_brackets(self):
        workload = named(render({"ipFamily": "IPv6"}), "StatefulSet", "promesh-receiver-a")
        self.assertIn("--shard.self=[$(POD_IP)]:9095", container(workload)["args"])


class Tls(unittest.TestCase):
    def test_senders_expect_the_name_that_the_certificate_has(self):
        documents = render({"tls": {"mode": "certManager"}, "gateways": {"enabled": True}})
        certificate = named(documents, "Certificate", "promesh-exporter-tls")
        name = certificate["spec"]["dnsNames"][0]
        for kind, sender in (("StatefulSet", "promesh-receiver-a"), ("Deployment", "promesh-gateway")):
            workload = named(documents, kind, sender)
            self.assertIn(f"--exporter.tls.server-name={name}", container(workload)["args"])
            secret = workload["spec"]["template"]["spec"]["volumes"]
            names = [v["secret"]["secretName"] for v in secret if "secret" in v]
            self.assertEqual(len(names), 1)
            self.assertTrue(named(documents, "Certificate", names[0]))
        self.assertIn("--grpc.tls.client-ca-file=/etc/promesh-tls/ca.crt",
                      container(named(documents, "Deployment", "promesh-exporter"))["args"])

    def test_a_given_issuer_replaces_the_own_authority(self):
        issuer = {"name": "corp", "kind": "ClusterIssuer", "group": "cert-manager.io"}
        documents = render({"tls": {"mode": "certManager", "certManager": {"issuerRef": issuer}}})
        self.assertEqual(of_kind(documents, "Issuer"), [])
        for certificate in of_kind(documents, "Certificate"):
            self.assertEqual(certificate["spec"]["issuerRef"], issuer)


@unittest.skipUnless(os.environ.get("KUBECTL"), "KUBECTL is not set")
class Cluster(unittest.TestCase):
    """Applies the examples to a real API server."""

    NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "chart-test",
        "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")},
    }}

    def kubectl(self, arguments, documents):
        command = [*os.environ["KUBECTL"].split(), *arguments, "--validate=strict", "--filename=-"]
        run = subprocess.run(command, input=yaml.safe_dump_all(documents), text=True, capture_output=True)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_examples_apply_without_a_warning(self):
        self.kubectl(["apply"], [self.NAMESPACE])
        for example in EXAMPLES:
            with self.subTest(example=example.stem):
                documents = render(base=yaml.safe_load(example.read_text()), namespace="chart-test")
                self.kubectl(["apply", "--server-side", "--force-conflicts", "--dry-run=server"], documents)
                self.kubectl(["create", "--dry-run=server"], [self.pod(w) for w in workloads(documents)])

    def pod(self, workload):
        """A pod of the workload, which admission checks more strictly than the workload."""
        spec = workload["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", **spec["template"]}
        pod["metadata"] = {**pod["metadata"], "name": workload["metadata"]["name"], "namespace": "chart-test"}
        for claim in spec.get("volumeClaimTemplates", []):
            name = claim["metadata"]["name"]
            pod["spec"]["volumes"].append({"name": name, "persistentVolumeClaim": {"claimName": name}})
        return pod


class Refusals(unittest.TestCase):
    CASES = [
        ({"cluster": ""}, "cluster is empty: set it to"),
        ({"remoteWrite": []}, "no destination: set remoteWrite"),
        ({"remoteWrite": [{"url": AMP}]}, "add `sigv4: {region: REGION}`"),
        ({"config": {"prometheus": "remote_write: [{url: %s}]" % AMP}, "remoteWrite": []}, "add `sigv4"),
        ({"remoteWrite": [{"url": AMP.replace("https", "http"), "sigv4": {}}]}, "https only"),
        ({"remoteWrite": [{"url": AMP.removesuffix("/api/v1/remote_write"), "sigv4": {"region": "x"}}]}, "ends in /api/v1/remote_write"),
        ({"monitors": {"enabled": True}, "receivers": {"mode": "DaemonSet", "resources": {"limits": {"ephemeral-storage": "6Gi"}}}},
         "set receivers.mode: StatefulSet"),
        ({"monitors": {"prometheus": "k8s"}}, "does not match pattern"),
        ({"receivers": {"mode": "Deployment"}}, "'StatefulSet', 'DaemonSet'"),
        ({"receivers": {"outbox": None}}, "missing property 'outbox'"),
        ({"receivers": {"groups": "a"}}, "got string, want array"),
        ({"jobs": {"kubelet": True}}, "got boolean, want object"),
        ({"receivers": {"replica": 3}}, "'replica' not allowed"),
        ({"receivers": {"outbox": {"maxBytes": "9GiB"}}}, "exceeds size (5Gi)"),
        ({"receivers": {"outbox": {"persistent": False}}}, "ephemeral-storage (1Gi) is below"),
        ({"receivers": {"outbox": {"size": "5GiB"}}}, "a Kubernetes quantity such as 5Gi"),
        ({"receivers": {"groups": [{"name": "a"}, {"name": "a"}]}}, "two groups have the name"),
        ({"receivers": {"groups": [{"name": "A"}]}}, "such as a"),
        ({"receivers": {"serviceAccount": {"roleArn": "promesh"}}}, "the ARN of an IAM role"),
        ({"receivers": {"extraArgs": ["outbox.linger=1s"]}}, "such as --outbox.linger=1s"),
        ({"receivers": {"autoscaling": {"enabled": True, "cpu": 0}}}, "has no metric: set cpu"),
        ({"receivers": {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}}, "exceeds maxReplicas"),
        ({"exporters": {"enabled": False}}, "receivers need exporters"),
        ({"jobs": {"kubelet": {"metrics": "few"}}}, "'minimal', 'default', 'all'"),
        ({"jobs": {"kubelet": {"scrapeInterval": "30"}}}, "a duration with units"),
        ({"tls": {"mode": "secret"}}, "set tls.secretName"),
        ({"tls": {"secretName": "x"}}, "set tls.mode: secret"),
        ({"gateways": {"enabled": True, "ingress": {"enabled": True}}}, "gateways.ingress.host is empty"),
        ({"gateways": {"enabled": True, "route": {"enabled": True}}}, "name the Gateway"),
        ({"config": {"clusterJobs": "- job_name: x"}}, "only for receivers.mode DaemonSet"),
        ({"config": {"prometheus": "a: [b"}}, "no YAML mapping"),
        ({"config": {"prometheus": {"scrape_configs": []}}}, "write `prometheus: |`"),
        ({"config": {"clusterJobs": [{"job_name": "x"}]}}, "write `clusterJobs: |`"),
        ({"config": {"prometheus": "{scrape_configs: []}"}}, "in block style"),
        ({"config": {"prometheus": "scrape_configs: []\n..."}}, "without `...`"),
        ({"config": {"prometheus": "kind: ConfigMap\napiVersion: v1"}}, "without the ConfigMap around it"),
        ({"config": {"prometheus": "receivers: {prometheus: {}}\nservice: {pipelines: {}}"}}, "OpenTelemetry Collector"),
        ({"config": {"prometheus": "global: {external_labels: {__replica__: $REPLICA}}"}}, "must contain `cluster: ${CLUSTER}`"),
        ({"config": {"prometheus": "global: {external_labels: {cluster: other, __replica__: $REPLICA}}"}}, "found \"other\""),
        ({"config": {"prometheus": "global: {external_labels: {cluster: c, __replica__: pod-1}}"}}, "must contain `__replica__: ${REPLICA}`"),
        ({"config": {"prometheus": "remote_write: [{url: 'https://b.example/w'}]"}}, "remove one of them"),
        ({"config": {"prometheus": "scrape_config_files: [x.yml]"}}, "add default-jobs.yml"),
        ({"config": {"prometheus": "scrape_configs: [{job_name: kubelet}]"}}, "two jobs are named \"kubelet\""),
    ]

    def test_wrong_values_are_refused_with_what_to_write(self):
        for changes, expected in self.CASES:
            with self.subTest(changes=changes):
                self.assertIn(expected, refused(changes))


if __name__ == "__main__":
    unittest.main()
