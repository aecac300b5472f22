//! Target for configuration files and for the target lists of discovery.

use std::path::Path;

use mesh_model::{config::Config, config_file::parse_target_groups};

/// Parses the input as a configuration file and as a target list.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Parsing such a file would read other files of this machine.
    if !text.contains("scrape_config_files") {
        configuration(text);
    }
    for name in ["targets.yml", "targets.json"] {
        let read = || parse_target_groups(text, Path::new(name));
        match read() {
            Ok(groups) => assert_eq!(groups, read().expect("parsing is deterministic")),
            Err(error) => assert!(error.to_string().starts_with(name)),
        }
    }
}

fn configuration(text: &str) {
    let variable = |name: &str| (name.len() < 4).then(|| name.to_owned());
    let read = || Config::parse(text, Path::new("prometheus.yml"), &variable);
    match read() {
        Ok(config) => {
            let again = read().expect("parsing is deterministic");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            for scrape in &config.scrape_configs {
                assert!(!scrape.scrape_interval.is_zero());
                assert!(scrape.scrape_timeout <= scrape.scrape_interval);
            }
        }
        Err(error) => assert!(error.to_string().starts_with("prometheus.yml")),
    }
}
