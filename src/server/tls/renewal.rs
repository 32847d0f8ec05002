//! `tls-auto-reload-interval`: keys and certificates that were renewed in place are read anew without being asked to.

use super::configure_tls;
use crate::server::Server;
use crate::server::config::Config;
use std::fs;
use std::time::SystemTime;

/// When a file was written last, and how long it is; `None`: it can't be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// How the files looked when they were read.
#[derive(Debug)]
pub(crate) struct Renewal {
    looked_seconds: i64,
    stamps: Vec<Stamp>,
}

impl Renewal {
    pub fn of(config: &Config, now_seconds: i64) -> Renewal {
        Renewal { looked_seconds: now_seconds, stamps: stamps(config) }
    }

    /// Whether it is time to look, and the files are others than before: that is found once.
    fn look(&mut self, config: &Config, now_seconds: i64) -> bool {
        let interval = i64::from(config.tls_auto_reload_interval);
        if interval == 0 || now_seconds - self.looked_seconds < interval {
            return false;
        }
        let before = std::mem::replace(self, Renewal::of(config, now_seconds));
        before.stamps != self.stamps
    }
}

fn stamps(config: &Config) -> Vec<Stamp> {
    let files = [
        &config.tls_cert_file,
        &config.tls_key_file,
        &config.tls_client_cert_file,
        &config.tls_client_key_file,
        &config.tls_ca_cert_file,
        &config.tls_ca_cert_dir,
    ];
    let stamp = |file| fs::metadata(file).and_then(|it| Ok((it.modified()?, it.len()))).ok();
    files.into_iter().flatten().map(stamp).collect()
}

/// Looks whether files are others by now, if it is time to. What can't be used is told in the log, and the old is kept.
pub(crate) fn cron(server: &mut Server) {
    let now = server.now_seconds();
    let renewal = server.net.tls_renewal_mut();
    if !renewal.is_some_and(|renewal| renewal.look(&server.config, now)) {
        return;
    }
    match configure_tls(server) {
        Ok(()) => server.notice("TLS materials were renewed, and have been read anew"),
        Err(error) => {
            server.warning(&format!("TLS materials were renewed, but can't be used: {error}"))
        }
    }
}
