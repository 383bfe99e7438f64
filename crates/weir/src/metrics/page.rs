//! Writes families of samples.

use std::{collections::HashMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet},
    metrics::{MetricType, exemplar::Exemplar},
};

/// Labels of a sample.
pub(super) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// A page of metrics that is being written.
pub(super) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

/// One histogram: its sum, and how many values were in each bucket, by upper bound.
pub(super) struct Histogram {
    pub sum: f64,
    pub buckets: Vec<(f64, u64)>,
}

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self { encoder }
    }

    /// A number that only grows. The format adds `_total` to its name.
    pub(super) fn counter<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter(&value, None::<&Exemplar<NoLabelSet, f64>>)?;
        }
        Ok(())
    }

    /// A number that goes up and down.
    pub(super) fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Distributions of values.
    pub(super) fn histogram<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, Histogram)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let count = histogram.buckets.iter().map(|(_, count)| count).sum();
            family.encode_family(&labels)?.encode_histogram(
                histogram.sum,
                count,
                &histogram.buckets,
                None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>,
            )?;
        }
        Ok(())
    }

    /// Facts that are labels. The format adds `_info` to the name.
    pub(super) fn info<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        facts: impl IntoIterator<Item = L>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
        for labels in facts {
            family.encode_info(&labels)?;
        }
        Ok(())
    }

    /// A number of the process.
    pub(super) fn process_gauge(
        &mut self,
        name: &str,
        help: &str,
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
    }

    /// A number of the process that only grows.
    pub(super) fn process_counter(
        &mut self,
        name: &str,
        help: &str,
        value: &impl EncodeCounterValue,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>)
    }
}
