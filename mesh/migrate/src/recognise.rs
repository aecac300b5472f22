//! Recognises what a document is, and calls its translator.

use serde_json::Value;

use crate::{
    MigrateError, agent, blocks, collector,
    input::{Beside, Input},
    notes::Notes,
    operator,
    part::Part,
    read, scraper,
    value::{at, entries, list, text, texts},
    vmagent,
};

/// State of one run.
pub(crate) struct Run<'a> {
    pub(crate) beside: Beside<'a>,
    pub(crate) notes: Notes,
    pub(crate) part: Part,
    /// ServiceMonitor and other monitors among the inputs.
    pub(crate) monitors: Vec<Value>,
    /// A source was recognised.
    pub(crate) found: bool,
    /// Name of the VMAgent or command that was translated.
    vmagent: Option<String>,
}

// === impl Run ===

impl<'a> Run<'a> {
    pub(crate) fn new(beside: Beside<'a>) -> Self {
        Self {
            beside,
            notes: Notes::default(),
            part: Part::default(),
            monitors: Vec::new(),
            found: false,
            vmagent: None,
        }
    }

    /// Translates a file.
    pub(crate) fn file(&mut self, input: &Input) -> Result<(), MigrateError> {
        if blocks::is_terraform(&input.name, &input.text) {
            return self.terraform(input);
        }
        if blocks::is_alloy(&input.text) {
            blocks::alloy(&input.text, &mut self.notes);
            self.found = true;
            return Ok(());
        }
        // vmagent's `%{X}` at the start of a scalar is no YAML.
        let documents = read::documents(&input.text, &input.name).or_else(|error| {
            let text = vmagent::environment(&input.text);
            read::documents(&text, &input.name).map_err(|_| error)
        })?;
        for document in &documents {
            self.collect(document);
        }
        for document in &documents {
            self.document(document, input)?;
        }
        if !std::mem::take(&mut self.monitors).is_empty() {
            operator::monitors_only(&mut self.part, &mut self.notes);
            self.found = true;
        }
        Ok(())
    }

    fn terraform(&mut self, input: &Input) -> Result<(), MigrateError> {
        let scraper = input.text.contains("aws_prometheus_scraper");
        for heredoc in blocks::heredocs(&input.text) {
            let documents = match read::documents(&heredoc, "heredoc") {
                Ok(documents) => documents,
                Err(error) => {
                    self.notes.add("Terraform", format!("left out: {error}"));
                    continue;
                }
            };
            for document in &documents {
                self.document(document, input)?;
            }
        }
        if self.found || scraper {
            self.found = true;
            let text = "heredocs are read as Terraform would write them; its expressions \
                        ${...} and functions are not evaluated";
            self.notes.add("Terraform", text);
        }
        for line in input
            .text
            .lines()
            .filter(|line| line.contains("workspace_arn") && scraper)
        {
            let text = format!(
                "`{}` names the workspace: write remote_write with its url",
                line.trim()
            );
            self.notes.add("destination", text);
        }
        Ok(())
    }

    /// Collects what other documents refer to.
    fn collect(&mut self, document: &Value) {
        match document["kind"].as_str() {
            Some("List") => list(&document["items"])
                .iter()
                .for_each(|item| self.collect(item)),
            Some("ConfigMap") => {
                for (key, value) in entries(&document["data"]) {
                    if let Some(text) = value.as_str() {
                        self.beside.entries.insert(key.clone(), text.to_owned());
                    }
                }
            }
            Some("ServiceMonitor" | "PodMonitor" | "Probe" | "ScrapeConfig") => {
                self.monitors.push(document.clone());
            }
            _ => {}
        }
    }

    fn document(&mut self, document: &Value, input: &Input) -> Result<(), MigrateError> {
        match document["kind"].as_str() {
            Some("List") => list(&document["items"])
                .iter()
                .try_for_each(|item| self.document(item, input)),
            Some("ConfigMap") => self.config_map(document, input),
            Some("OpenTelemetryCollector") => self.collector_resource(document, input),
            Some("Prometheus" | "PrometheusAgent") => {
                let monitors = std::mem::take(&mut self.monitors);
                let part = operator::resource(document, &monitors, &mut self.notes);
                self.add(part);
                Ok(())
            }
            Some("VMAgent") => {
                let name = text(at(document, &["metadata", "name"])).unwrap_or_default();
                if self.is_only_vmagent(&format!("VMAgent {name}")) {
                    let part = vmagent::resource(document, &mut self.notes);
                    self.add(part);
                }
                Ok(())
            }
            Some(kind) if kind.starts_with("VM") => {
                let text = "promesh does not read resources of VictoriaMetrics (docs/monitors.md); \
                            write a ServiceMonitor or PodMonitor";
                self.notes.add(kind, text);
                Ok(())
            }
            Some("DaemonSet") => {
                let text = "a DaemonSet: each agent scraped every target that its rules keep; \
                            promesh scrapes each target once";
                self.notes.add("DaemonSet", text);
                self.commands(document);
                Ok(())
            }
            Some(_) => {
                self.commands(document);
                Ok(())
            }
            None => self.plain(document, input),
        }
    }

    /// Translates a document that is not a Kubernetes object.
    fn plain(&mut self, value: &Value, input: &Input) -> Result<(), MigrateError> {
        let part = if collector::is_config(value) {
            collector::translate(value, &mut self.notes)
        } else if let Some(metrics) = agent::section(value) {
            agent::translate(value, metrics, &mut self.notes)
        } else if let Some(scraper) = scraper::description(value) {
            scraper::translate(scraper, &input.name, &mut self.notes)?
        } else if at(value, &["prometheus", "prometheusSpec"]).is_object() {
            operator::chart(value, &mut self.notes)
        } else if at(value, &["config", "scrape_configs"]).is_array() {
            self.vmagent_chart(value)
        } else if collector::is_config(&value["config"]) {
            collector::translate(&value["config"], &mut self.notes)
        } else if ["scrape_configs", "remote_write"]
            .iter()
            .any(|key| value[*key].is_array())
        {
            if vmagent::is_file(&input.text, value) {
                vmagent::file(value, &mut self.notes)
            } else {
                self.prometheus(value)
            }
        } else {
            self.commands(value);
            return Ok(());
        };
        self.add(part);
        Ok(())
    }

    fn prometheus(&mut self, value: &Value) -> Part {
        let mut value = value.clone();
        crate::placeholder::unflow(&mut value);
        let mut part = Part::of_file(&value);
        for (name, text) in [
            ("rule_files", "rules run in AMP's ruler"),
            ("alerting", "alerts run in AMP's alert manager"),
            ("remote_read", "queries go to AMP"),
            ("storage", "promesh stores nothing"),
            ("tracing", "promesh writes no traces"),
        ] {
            if part.sections.remove(name).is_some() {
                self.notes.add(name, text);
            }
        }
        for job in &part.jobs {
            for group in list(&job["static_configs"]) {
                if texts(&group["targets"])
                    .iter()
                    .any(|target| target == "localhost:9090")
                {
                    let text = "is Prometheus itself, which is gone after the migration";
                    self.notes.add("localhost:9090", text);
                }
            }
        }
        for entry in &part.remote_write {
            if !entry["sigv4"]["secret_key"].is_null() {
                let text = "access_key and secret_key are copied; IRSA or Pod Identity need none";
                self.notes.add("remote_write.sigv4", text);
            }
        }
        part
    }

    fn vmagent_chart(&mut self, values: &Value) -> Part {
        let mut part = vmagent::file(&values["config"], &mut self.notes);
        for entry in list(&values["remoteWrite"]) {
            if let Some(url) = text(&entry["url"]) {
                part.remote_write.push(serde_json::json!({ "url": url }));
                let others = entries(entry)
                    .map(|(key, _)| key.as_str())
                    .filter(|key| *key != "url");
                for key in others {
                    self.notes.add(
                        format!("remoteWrite.{key}"),
                        "add it to remote_write by hand",
                    );
                }
            }
        }
        for (name, _) in entries(&values["extraArgs"]) {
            let place = format!("extraArgs.{name}");
            self.notes.add(place, "a flag of vmagent; no counterpart");
        }
        part
    }

    fn config_map(&mut self, document: &Value, input: &Input) -> Result<(), MigrateError> {
        for (key, value) in entries(&document["data"]) {
            let Some(text) = value.as_str() else { continue };
            let is_config = ["scrape_configs:", "receivers:", "remote_write:"]
                .iter()
                .any(|word| text.contains(word));
            // The flags of vmagent name its files.
            if !is_config
                || (input.text.contains("promscrape.config") && !text.contains("receivers:"))
            {
                continue;
            }
            let name = format!("{}: data.{key}", input.name);
            let value = read::embedded(text, &input.text, &name)?;
            let inner = Input {
                name,
                text: text.to_owned(),
            };
            self.plain(&value, &inner)?;
        }
        Ok(())
    }

    fn collector_resource(&mut self, object: &Value, input: &Input) -> Result<(), MigrateError> {
        let config = &object["spec"]["config"];
        let config = match config.as_str() {
            Some(text) => read::embedded(text, &input.text, &input.name)?,
            None => config.clone(),
        };
        let part = collector::resource(object, &config, &mut self.notes);
        self.add(part);
        Ok(())
    }

    /// Translates the flags of vmagents in a workload or a compose file.
    fn commands(&mut self, document: &Value) {
        let pod = at(document, &["spec", "template", "spec"]);
        let containers = list(&pod["containers"]).iter();
        let containers = containers.map(|c| (text(&c["name"]).unwrap_or_default(), c));
        let services = entries(&document["services"]).map(|(name, c)| (name.clone(), c));
        for (name, container) in containers.chain(services) {
            let mut words = Vec::new();
            for key in ["entrypoint", "command", "args"] {
                match &container[key] {
                    Value::String(line) => words.extend(line.split_whitespace().map(str::to_owned)),
                    list => words.extend(texts(list)),
                }
            }
            let Some(flags) = vmagent::Flags::of_command(&words) else {
                continue;
            };
            if self.is_only_vmagent(&name) {
                let part = vmagent::from_flags(&flags, &self.beside, &mut self.notes);
                self.add(part);
            }
        }
    }

    /// Returns true for the first vmagent. Another one is a configuration of its own.
    fn is_only_vmagent(&mut self, name: &str) -> bool {
        match &self.vmagent {
            Some(first) => {
                let text =
                    format!("left out: {first} is translated; give {name} alone for its own file");
                self.notes.add(name, text);
                false
            }
            None => {
                self.vmagent = Some(name.to_owned());
                true
            }
        }
    }

    fn add(&mut self, part: Part) {
        self.found = true;
        self.part.join(part, &mut self.notes);
    }
}
