//! The two text formats that Prometheus reads: its own (0.0.4) and OpenMetrics (1.0.0).
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::Display;
use std::io::Write;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header would rather have; the older one if it doesn't care.
    pub fn preferred(accept: &str) -> Format {
        let weight = |media_type: &str| {
            let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
            let weights = ranges.filter_map(|mut parts| {
                let is_it = parts.next()?.eq_ignore_ascii_case(media_type);
                let q = parts.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q=")));
                is_it.then(|| q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            });
            weights.fold(0.0, f64::max)
        };
        let open_metrics = weight("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= weight("text/plain") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A sum and a count.
    Summary,
    /// Percentiles that are no quantiles (50 for 0.5), as redis_exporter has them.
    Percentiles,
}

/// Names and values that tell samples of one metric apart.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A text in the making. The samples of a metric follow its head.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    out: Vec<u8>,
    /// The metric whose head was written last.
    name: &'static str,
}

impl Exposition {
    pub fn new(format: Format) -> Exposition {
        Exposition { format, out: Vec::with_capacity(32 * 1024), name: "" }
    }

    /// Begins a metric.
    pub fn head(&mut self, name: &'static str, kind: Kind, help: impl Display) {
        self.name = name;
        let (family, kind) = self.family(name, kind);
        self.write(format_args!("# HELP {family} {help}\n# TYPE {family} {kind}\n"));
    }

    /// What a metric is called in its head, and its type.
    fn family(&self, name: &'static str, kind: Kind) -> (&'static str, &'static str) {
        match (self.format, kind) {
            (Format::Text, Kind::Counter) => (name, "counter"),
            (Format::OpenMetrics, Kind::Counter) => match name.strip_suffix("_total") {
                Some(family) => (family, "counter"),
                // A counter has that suffix there; who needs another name does without the type.
                None => (name, "unknown"),
            },
            (_, Kind::Gauge) => (name, "gauge"),
            (_, Kind::Histogram) => (name, "histogram"),
            (_, Kind::Summary) | (Format::Text, Kind::Percentiles) => (name, "summary"),
            (Format::OpenMetrics, Kind::Percentiles) => (name, "unknown"),
        }
    }

    /// Begins the sum or the count of percentiles: a metric of its own where they are not a summary.
    pub fn part_of_percentiles(&mut self, name: &'static str) {
        match self.format {
            Format::Text => self.name = name,
            Format::OpenMetrics => self.head(name, Kind::Percentiles, "Of these calls."),
        }
    }

    /// Adds a sample of that metric.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.sample_of("", labels, &value);
    }

    /// A metric of one sample.
    pub fn single(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: impl Display,
        value: impl Display,
    ) {
        self.head(name, kind, help);
        self.sample(&[], value);
    }

    /// Adds a sample of that metric whose name ends with this suffix.
    pub fn sample_of(&mut self, suffix: &str, labels: Labels<'_>, value: &dyn Display) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        self.labels(labels, None);
        self.write(format_args!(" {value}\n"));
    }

    /// Adds a histogram of that metric: upper bounds, ascending, with how many values each bound has beyond the one
    /// before; how many values there are in all; and their sum.
    pub fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: impl Display,
    ) {
        let mut below = 0;
        for (bound, n) in buckets {
            below += n;
            self.bucket(labels, &bound, below);
        }
        self.bucket(labels, &"+Inf", count);
        self.sample_of("_sum", labels, &sum);
        self.sample_of("_count", labels, &count);
    }

    fn bucket(&mut self, labels: Labels<'_>, bound: &dyn Display, below: u64) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(b"_bucket");
        self.labels(labels, Some(bound));
        self.write(format_args!(" {below}\n"));
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&dyn Display>) {
        if labels.is_empty() && bound.is_none() {
            return;
        }
        let mut before = b'{';
        for (name, value) in labels {
            self.out.push(before);
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            for byte in value.bytes() {
                match byte {
                    b'\\' | b'"' => self.out.extend([b'\\', byte]),
                    b'\n' => self.out.extend_from_slice(b"\\n"),
                    byte => self.out.push(byte),
                }
            }
            self.out.push(b'"');
            before = b',';
        }
        if let Some(bound) = bound {
            self.out.push(before);
            self.write(format_args!("le=\"{bound}\""));
        }
        self.out.push(b'}');
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a vector does not fail.
        let _ = self.out.write_fmt(text);
    }

    /// All of it.
    pub fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.out.extend_from_slice(b"# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.head("a_total", Kind::Counter, "Help.");
        out.sample(&[("x", "1\"\\\n"), ("y", "")], 2);
        out.single("b", Kind::Counter, "Help.", 0.5);
        out.head("c", Kind::Histogram, "Help.");
        out.histogram(&[("x", "1")], [(0.5, 1), (1.0, 2)].into_iter(), 4, 2.5);
        String::from_utf8(out.finish()).unwrap()
    }

    #[test]
    fn both_formats() {
        let older = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\\\"\\\\\\n\",y=\"\"} 2\n\
                     # HELP b Help.\n# TYPE b counter\nb 0.5\n\
                     # HELP c Help.\n# TYPE c histogram\nc_bucket{x=\"1\",le=\"0.5\"} 1\nc_bucket{x=\"1\",le=\"1\"} 3\n\
                     c_bucket{x=\"1\",le=\"+Inf\"} 4\nc_sum{x=\"1\"} 2.5\nc_count{x=\"1\"} 4\n";
        assert_eq!(text(Format::Text), older);
        let newer = older
            .replace("HELP a_total", "HELP a")
            .replace("TYPE a_total", "TYPE a")
            .replace("TYPE b counter", "TYPE b unknown");
        assert_eq!(text(Format::OpenMetrics), newer + "# EOF\n");
    }

    #[test]
    fn the_preferred_format_is_found() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            (prometheus, Format::OpenMetrics),
            ("text/plain, application/openmetrics-text;q=0.9", Format::Text),
            ("application/openmetrics-text; q=0", Format::Text),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
    }
}
