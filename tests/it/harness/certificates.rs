//! Certificates for tests, made as they are needed.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType,
};
use std::fs;
use std::path::PathBuf;

/// Who signs certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate to be, made out to somebody.
fn params(whom: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| host.to_string()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, whom);
    params
}

fn authority() -> Authority {
    let mut params = params("an authority", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a signature")
}

/// Certificates and keys as files: `ca.crt`, with what it has signed, `server` and `client`; and `stranger`, signed by
/// somebody else. Each is made out to its name, and to `urn:name:1` and `urn:name:2`.
pub struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Certificates {
        let certificates = Certificates { dir: tempfile::tempdir().expect("a directory") };
        let ca = authority();
        fs::write(certificates.path("ca.crt"), ca.pem()).expect("a file");
        for (name, authority) in [("server", &ca), ("client", &ca), ("stranger", &authority())] {
            certificates.sign(name, authority);
        }
        certificates
    }

    fn sign(&self, name: &str, authority: &Authority) {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(name, &["localhost"]);
        for number in 1..=2 {
            let uri = format!("urn:{name}:{number}").try_into().expect("an URI");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let cert = params.signed_by(&key, authority).expect("a signature");
        fs::write(self.path(&format!("{name}.crt")), cert.pem()).expect("a file");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn text(&self, file: &str) -> String {
        self.path(file).to_str().expect("a plain path").to_string()
    }

    /// What a server is started with to use them.
    pub fn options(&self) -> Vec<String> {
        let files = [
            ("tls-ca-cert-file", "ca.crt"),
            ("tls-cert-file", "server.crt"),
            ("tls-key-file", "server.key"),
        ];
        files.iter().flat_map(|(name, file)| [format!("--{name}"), self.text(file)]).collect()
    }
}
