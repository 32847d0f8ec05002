//! The files of the live page, which are a part of the program: it needs no network and no files beside it.

use super::response::{Response, Status};
use bytes::Bytes;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and content of one of the page's own files, or of those of others that it uses.
macro_rules! file {
    ($path:literal, $kind:expr, $file:literal) => {
        ($path, $kind, include_bytes!(concat!("../../../web/", $file)))
    };
}

const FILES: &[(&str, &str, &[u8])] = &[
    file!("/", HTML, "page/index.html"),
    file!("/page.css", STYLE, "page/page.css"),
    file!("/icon.svg", "image/svg+xml", "page/icon.svg"),
    file!("/main.js", SCRIPT, "page/main.js"),
    file!("/charts.js", SCRIPT, "page/charts.js"),
    file!("/cluster.js", SCRIPT, "page/cluster.js"),
    file!("/elements.js", SCRIPT, "page/elements.js"),
    file!("/format.js", SCRIPT, "page/format.js"),
    file!("/heat.js", SCRIPT, "page/heat.js"),
    file!("/topology.js", SCRIPT, "page/topology.js"),
    file!("/uPlot.iife.min.js", SCRIPT, "vendor/uPlot.iife.min.js"),
    file!("/uPlot.min.css", STYLE, "vendor/uPlot.min.css"),
];

/// The file at a path.
pub fn file(path: &str) -> Option<Response> {
    let (_, content_type, bytes) = FILES.iter().find(|(at, _, _)| *at == path)?;
    Some(Response { status: Status::Ok, content_type, body: Bytes::from_static(bytes) })
}
