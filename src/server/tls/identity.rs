//! `tls-auth-clients-user`: a client that shows a certificate is logged in as the user whom the certificate names,
//! without a password. If it names nobody who may log in, the client stays what clients are at first, and `ACL LOG`
//! tells.
//!
//! Names stand in certificates as X.509 has them (RFC 5280): the common name is an attribute of the subject, and URIs
//! are among its alternative names.

use crate::server::Server;
use crate::server::acl;
use crate::server::client::{ClientFlags, Token};
use crate::server::config::TlsAuthClientsUser;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The object identifier of a common name, 2.5.4.3, in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// A client has connected: if it is to be named by its certificate, that is looked at when it has shown it.
pub(crate) fn expect_certificate(server: &mut Server, token: Token) {
    let wanted = server.config.tls_auth_clients_user != TlsAuthClientsUser::Off;
    let client = &mut server.clients[token];
    client.flags.set(ClientFlags::UNIDENTIFIED, wanted && client.conn.is_encrypted());
}

/// The first bytes of a client have come, or its handshake is over: logs it in as whom its certificate names.
#[cold]
pub(crate) fn identify(server: &mut Server, token: Token) {
    let client = &mut server.clients[token];
    if client.conn.is_handshaking() {
        return;
    }
    client.flags.remove(ClientFlags::UNIDENTIFIED);
    let Some(certificate) = client.conn.certificate() else { return };
    let Some(names) = names(certificate, server.config.tls_auth_clients_user) else { return };
    match names.iter().find_map(|name| server.acl.find_enabled(name)) {
        Some(user) => server.acl.log_in(client, user),
        None => {
            let name = names.into_iter().next().unwrap_or_default();
            acl::log_unknown_certificate(server, token, &name);
        }
    }
}

/// The names in a certificate that may be a user's; `None`: none is to be.
fn names(certificate: &CertificateDer<'_>, field: TlsAuthClientsUser) -> Option<Vec<Vec<u8>>> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Some(Vec::new()) };
    Some(match field {
        TlsAuthClientsUser::Off => return None,
        TlsAuthClientsUser::Cn => {
            common_name(certificate.subject()).into_iter().map(<[u8]>::to_vec).collect()
        }
        TlsAuthClientsUser::Uri => {
            certificate.valid_uri_names().map(|uri| uri.as_bytes().to_vec()).collect()
        }
    })
}

/// The first common name of a subject: sets of attributes, each a sequence of what it is and a text.
fn common_name(subject: &[u8]) -> Option<&[u8]> {
    elements(subject, SET).flat_map(|set| elements(set, SEQUENCE)).find_map(|attribute| {
        let (tag, kind, rest) = element(attribute)?;
        let (_, text, _) = element(rest)?;
        (tag == OBJECT_IDENTIFIER && kind == COMMON_NAME).then_some(text)
    })
}

/// The contents of elements that follow each other, as long as they have this tag.
fn elements(mut der: &[u8], tag: u8) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (found, content, rest) = element(der)?;
        der = rest;
        (found == tag).then_some(content)
    })
}

/// The first element's tag and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0x00..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&len, rest)| (usize::from(len), rest))?,
        0x82 => {
            let (&len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(len)), rest)
        }
        // Longer than any name.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of DER.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = u8::try_from(content.len()).unwrap();
        let head = if len < 0x80 { vec![tag, len] } else { vec![tag, 0x81, len] };
        [&head, content].concat()
    }

    fn attribute(kind: &[u8], text: &[u8]) -> Vec<u8> {
        der(SEQUENCE, &[der(OBJECT_IDENTIFIER, kind), der(0x0c, text)].concat())
    }

    #[test]
    fn the_first_common_name_is_found() {
        let organization = attribute(&[0x55, 0x04, 0x0a], b"alice");
        let of = |name: &[u8]| attribute(COMMON_NAME, name);
        let long = [b'x'; 150];
        let sets = |sets: &[&[u8]]| sets.iter().flat_map(|set| der(SET, set)).collect::<Vec<u8>>();
        assert_eq!(common_name(&sets(&[&of(b"bob")])), Some(&b"bob"[..]));
        assert_eq!(
            common_name(&sets(&[&organization, &of(b"bob"), &of(b"eve")])),
            Some(&b"bob"[..])
        );
        assert_eq!(
            common_name(&sets(&[&[organization.clone(), of(b"bob")].concat()])),
            Some(&b"bob"[..])
        );
        assert_eq!(common_name(&sets(&[&of(&long)])), Some(&long[..]));
        assert_eq!(common_name(&sets(&[&organization])), None);
        assert_eq!(common_name(b""), None);
    }

    #[test]
    fn what_is_cut_short_names_nobody() {
        let subject = der(SET, &attribute(COMMON_NAME, b"bob"));
        for len in 0..subject.len() {
            assert_eq!(common_name(&subject[..len]), None);
        }
        for at in 0..subject.len() {
            for byte in [0x00, 0x7f, 0x80, 0x81, 0x82, 0x83, 0xff] {
                let mut damaged = subject.clone();
                damaged[at] = byte;
                // Whatever it finds, it ends.
                let _ = common_name(&damaged);
            }
        }
    }
}
