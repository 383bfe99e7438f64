//! What `/metrics` shows, in OpenMetrics text. Counters live where they are counted; a scrape adds up what each worker
//! counted for itself. Every metric is named, explained and read in one place: a row of a table, or one call.

mod page;
mod pools;
mod process;
mod sessions;
mod statements;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};
use weir_gateway::{Gateway, tenant::Tenant};

use crate::status::Status;
use page::Page;

/// The content type of what [`Metrics::render`] gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is measured.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Of this gateway, in this process.
    pub(crate) fn new(gateway: Arc<Gateway>, status: Arc<Status>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Everything { gateway, status }));
        Self { registry }
    }

    /// What a scrape gets.
    ///
    /// # Errors
    /// Only if memory runs out: text is written to a string.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Everything {
    gateway: Arc<Gateway>,
    status: Arc<Status>,
}

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page::new(encoder);
        let (_, tenants) = self.gateway.tenants();
        let mut tenants: Vec<&Arc<Tenant>> = tenants.by_name.values().collect();
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        statements::write(&mut page, &tenants)?;
        sessions::write(&mut page, &self.gateway, &tenants)?;
        pools::write(&mut page, &tenants)?;
        process::write(&mut page, &self.gateway, &self.status)
    }
}
