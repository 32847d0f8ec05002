//! Protocol versions and cipher suites, by the names that OpenSSL gives them.

use super::{Config, TlsError};
use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

/// The versions that `tls-protocols` names, of those that there are.
pub fn versions(names: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let Some(names) = names else { return Ok(vec![&TLS13, &TLS12]) };
    let mut versions = Vec::new();
    for name in names.split(' ') {
        match name.to_ascii_lowercase().as_str() {
            "tlsv1.2" => versions.push(&TLS12),
            "tlsv1.3" => versions.push(&TLS13),
            // No longer secure.
            "tlsv1" | "tlsv1.1" => {}
            _ => return Err(TlsError::UnknownVersion),
        }
    }
    if versions.is_empty() {
        return Err(TlsError::NoVersion);
    }
    Ok(versions)
}

/// The cryptography, with those suites that `tls-ciphers` (TLS 1.2) and `tls-ciphersuites` (TLS 1.3) leave.
pub fn provider(config: &Config) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    let (modern, older): (Vec<_>, Vec<_>) =
        provider.cipher_suites.into_iter().partition(|suite| suite.tls13().is_some());
    let modern =
        chosen(modern, config.tls_ciphersuites.as_deref()).map_err(TlsError::NoCiphersuite)?;
    let older = chosen(older, config.tls_ciphers.as_deref()).map_err(TlsError::NoCipher)?;
    provider.cipher_suites = [modern, older].concat();
    Ok(provider)
}

/// What an OpenSSL list leaves: names and the likes of `HIGH` add, those behind `!` or `-` take away.
///
/// # Errors
/// The list, if it leaves nothing.
///
/// # Errors
/// The list, if it leaves nothing.
fn chosen(
    known: Vec<SupportedCipherSuite>,
    list: Option<&str>,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let Some(list) = list else { return Ok(known) };
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        match word.strip_prefix(['!', '-']) {
            Some(unwanted) => chosen.retain(|suite| !matches(suite, unwanted)),
            None => {
                let word = word.trim_start_matches('+');
                let wanted = known.iter().filter(|suite| matches(suite, word));
                for suite in wanted {
                    if !chosen.contains(suite) {
                        chosen.push(*suite);
                    }
                }
            }
        }
    }
    if chosen.is_empty() { Err(list.to_string()) } else { Ok(chosen) }
}

/// Whether a word of a list means a suite: its name, a class of all, or some of its properties, as in `ECDHE+AESGCM`.
fn matches(suite: &SupportedCipherSuite, word: &str) -> bool {
    let name = openssl_name(suite.suite());
    let all = matches!(word, "DEFAULT" | "ALL" | "HIGH" | "AEAD");
    let has = |property: &str| match property {
        "EECDH" | "kEECDH" | "kECDHE" => name.starts_with("ECDHE"),
        "AESGCM" => name.contains("GCM"),
        "AES" => name.contains("AES"),
        "CHACHA20" => name.contains("CHACHA20"),
        "aRSA" => name.contains("RSA"),
        "aECDSA" => name.contains("ECDSA"),
        property => name.split('-').any(|part| part == property),
    };
    all || word == name || word.split('+').all(has)
}

/// As OpenSSL calls a suite.
fn openssl_name(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => {
            let name = name.trim_start_matches("TLS_").replace("_WITH", "").replace("AES_", "AES");
            name.replace('_', "-").replace("POLY1305-SHA256", "POLY1305")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        let config = Config {
            tls_ciphers: Some(list.to_string()),
            tls_ciphersuites: Some("TLS_AES_128_GCM_SHA256".to_string()),
            ..Config::default()
        };
        let suites = provider(&config).map(|provider| provider.cipher_suites).unwrap_or_default();
        suites.iter().map(|suite| openssl_name(suite.suite())).collect()
    }

    #[test]
    fn suites_are_chosen_by_openssl_s_names() {
        let modern = "TLS_AES_128_GCM_SHA256";
        assert_eq!(names("ECDHE-RSA-AES128-GCM-SHA256"), [modern, "ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("DEFAULT:!MEDIUM").len(), 7);
        assert_eq!(names("ECDHE+CHACHA20:!ECDSA"), [modern, "ECDHE-RSA-CHACHA20-POLY1305"]);
        assert!(names("RC4-MD5").is_empty(), "a list that leaves nothing is refused");
    }

    #[test]
    fn versions_are_chosen() {
        assert_eq!(versions(None).unwrap().len(), 2);
        assert_eq!(versions(Some("TLSv1.2")).unwrap(), [&TLS12]);
        assert_eq!(versions(Some("tlsv1 tlsv1.3")).unwrap(), [&TLS13]);
        assert_eq!(versions(Some("TLSv1.1")), Err(TlsError::NoVersion));
        assert_eq!(versions(Some("SSLv3")), Err(TlsError::UnknownVersion));
    }
}
