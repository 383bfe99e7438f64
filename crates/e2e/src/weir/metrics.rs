//! What `/metrics` showed at one moment.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

/// Samples by name and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: BTreeMap<(String, Vec<(String, String)>), f64>,
}

impl Metrics {
    /// Reads Prometheus' text.
    ///
    /// # Errors
    /// A line that is none.
    pub fn parse(text: &str) -> Result<Metrics> {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
            let value = value.parse().with_context(|| format!("no number: {line}"))?;
            let (name, labels) = match key.split_once('{') {
                Some((name, labels)) => (name, labels_of(labels)),
                None => (key, Vec::new()),
            };
            samples.insert((name.to_owned(), labels), value);
        }
        Ok(Metrics { samples })
    }

    /// Adds up all samples of a name that have these labels; 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has =
            |all: &[(String, String)]| labels.iter().all(|(n, v)| all.iter().any(|(a, b)| a == n && b == v));
        self.samples.iter().filter(|((n, all), _)| n == name && has(all)).map(|(_, value)| value).sum()
    }

    /// Is there any sample of that name?
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|(n, _)| n == name)
    }
}

fn labels_of(text: &str) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = text
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    labels.sort();
    labels
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((name, labels), value) in self.samples.iter().filter(|((name, _), _)| !name.contains("_bucket"))
        {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(f, "{name}{{{}}} {value}", labels.join(","))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_samples_by_label() {
        let text =
            "# HELP x y\nx_total{a=\"1\",b=\"two, three\"} 4\nx_total{a=\"2\",b=\"\"} 0.5\ny 7\n# EOF\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("x_total", &[]), 4.5);
        assert_eq!(metrics.sum("x_total", &[("a", "1")]), 4.0);
        assert_eq!(metrics.sum("x_total", &[("b", "two, three")]), 4.0);
        assert_eq!((metrics.sum("y", &[]), metrics.sum("z", &[])), (7.0, 0.0));
        assert!(metrics.has("y") && !metrics.has("z"));
        assert!(Metrics::parse("x").is_err() && Metrics::parse("x one").is_err());
    }
}
