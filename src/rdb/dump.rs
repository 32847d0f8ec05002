//! Payloads of `DUMP` and `FUNCTION DUMP`: one value as in an RDB file (its type, then its body), or function
//! libraries, then the version in two bytes, and the CRC-64 of all of it in eight; both little-endian.

use super::error::{ErrorKind, Fault, RdbError};
use super::format::{CHECKSUM_LEN, REDIS_VERSION_MAX, VALKEY_VERSION, opcode};
use super::object;
use super::reader::Reader;
use super::writer::{RdbVersion, RdbWriter, Records, WriterOptions};
use crate::util::crc64::crc64;
use crate::value::{Value, ValueRef};
use std::io;

const VERSION_LEN: usize = 2;

/// The payload of `value`, as `DUMP` answers it: in a version that Redis 7.0 and all later servers can `RESTORE`, but
/// for a hash whose fields expire, which is written in version `expiring`. `compress`: LZF for strings where it pays.
pub fn dump(value: ValueRef<'_>, compress: bool, expiring: RdbVersion) -> Vec<u8> {
    let version = match value {
        ValueRef::Hash(hash) if hash.has_expiring_field() => expiring,
        _ => RdbVersion::V10,
    };
    payload(version, compress, |w| {
        w.byte(object::value_type(value, version))?;
        object::write(w, value)
    })
}

/// The payload of function libraries, whose codes these are.
pub fn dump_functions<'a>(codes: impl Iterator<Item = &'a [u8]>, compress: bool) -> Vec<u8> {
    let mut codes = codes;
    payload(RdbVersion::V10, compress, |w| codes.try_for_each(|code| w.function(code)))
}

fn payload(
    version: RdbVersion,
    compress: bool,
    write: impl FnOnce(&mut RdbWriter<io::Empty>) -> io::Result<()>,
) -> Vec<u8> {
    let options = WriterOptions { version, compress, checksum: false };
    let mut w = RdbWriter::in_memory(options);
    write(&mut w).expect("writing to memory does not fail");
    let mut payload = w.into_bytes();
    payload.extend_from_slice(&(version as u16).to_le_bytes());
    let crc = crc64(0, &payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// What is in front of a payload's version and checksum, and the version.
fn checked_body(payload: &[u8], verify: bool) -> Result<(&[u8], u16), RdbError> {
    let footer_error = RdbError { offset: 0, kind: ErrorKind::PayloadFooter };
    let Some((signed, crc)) = payload.split_last_chunk::<CHECKSUM_LEN>() else {
        return Err(footer_error);
    };
    let Some((body, version)) = signed.split_last_chunk::<VERSION_LEN>() else {
        return Err(footer_error);
    };
    let version = u16::from_le_bytes(*version);
    let known = version <= REDIS_VERSION_MAX || version == VALKEY_VERSION;
    if !known || (verify && crc64(0, signed) != u64::from_le_bytes(*crc)) {
        return Err(footer_error);
    }
    Ok((body, version))
}

/// The version of a payload, unchecked; 0: it is too short to have one.
pub fn payload_version(payload: &[u8]) -> u16 {
    let signed = payload.split_last_chunk::<CHECKSUM_LEN>().map_or(&[][..], |(signed, _)| signed);
    signed.split_last_chunk().map_or(0, |(_, version)| u16::from_le_bytes(*version))
}

/// The codes of the function libraries in a payload.
///
/// # Errors
/// [`ErrorKind::PayloadFooter`] as for [`restore`], [`ErrorKind::UnknownType`] for anything but a function.
pub fn restore_functions(payload: &[u8], verify: bool) -> Result<Vec<Box<[u8]>>, RdbError> {
    let (body, _) = checked_body(payload, verify)?;
    let mut r = Reader::new(body);
    let mut codes = Vec::new();
    while r.pos() < body.len() {
        let code = match r.byte() {
            Ok(opcode::FUNCTION2) => r.string(),
            Ok(opcode::FUNCTION_PRE_GA) => Err(Fault::Bad(ErrorKind::PreReleaseFunctions)),
            Ok(other) => Err(Fault::Bad(ErrorKind::UnknownType(other))),
            Err(fault) => Err(fault),
        };
        let code =
            code.map_err(|fault| RdbError { offset: r.pos() as u64, kind: fault.at_end() })?;
        codes.push(code.into_owned().into());
    }
    Ok(codes)
}

/// The value in a payload. `verify`: whether to check the checksum.
///
/// # Errors
/// [`ErrorKind::PayloadFooter`] for a version or checksum that is wrong (`ERR DUMP payload version
/// or checksum are wrong`); any other kind for a body that is (`ERR Bad data format`), trailing
/// bytes included.
pub fn restore(payload: &[u8], verify: bool) -> Result<Value, RdbError> {
    let (body, version) = checked_body(payload, verify)?;
    let mut r = Reader::new(body);
    let error = |r: &Reader<'_>, kind| RdbError { offset: r.pos() as u64, kind };
    let value = match r.byte().and_then(|t| object::parse(t, version, &mut r)) {
        Ok(loaded) => Value::from(loaded),
        Err(fault) => return Err(error(&r, fault.at_end())),
    };
    match r.pos() == body.len() {
        true => Ok(value),
        false => Err(error(&r, ErrorKind::Corrupt("Bytes after the value"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Redis 7.0.15, Redis 8.2.3 and Valkey 9.1.2 answer to `DUMP`.
    #[test]
    fn payloads_of_real_servers() {
        let long = "a".repeat(200);
        let text = |t: &str| Value::Str(t.into());
        for (payload, value) in [
            (&b"\0\xc0\x01\n\0&x\xe7\xb6\xd1\x01\x11\xfc"[..], Value::Int(1)),
            (b"\0\x05hello\n\0cr\xdfve4 \n", text("hello")),
            (b"\0\xc3\t@\xc8\x01aa\xe0\xbb\0\x01aa\n\0\x1f\x99\xf7.\x01\xb2\r\xe3", text(&long)),
            (b"\0\x0b-3000000000\n\0|\xef5m9\x05\x1f\xd1", Value::Int(-3_000_000_000)),
            (b"\0\xc0\x01\x0c\0\xed\x0e\xd3v++\x8f\xb5", Value::Int(1)),
            (b"\0\x05hello\x0c\0\xa8\x04\xeb\xb6\x9f\x1e\xbeC", text("hello")),
            (b"\0\xc0\x01P\0\xe9R.'OSv\x08", Value::Int(1)),
            (b"\0\x05helloP\0\xacX\x16\xe7\xfbfG\xfe", text("hello")),
        ] {
            assert_eq!(restore(payload, true), Ok(value));
        }
        assert_eq!(
            dump(ValueRef::Int(1), true, RdbVersion::V12),
            b"\0\xc0\x01\n\0&x\xe7\xb6\xd1\x01\x11\xfc"
        );
        assert_eq!(
            dump(ValueRef::Str(b"hello"), true, RdbVersion::V12),
            b"\0\x05hello\n\0cr\xdfve4 \n"
        );
    }

    #[test]
    fn wrong_payloads_are_refused() {
        let good = dump(ValueRef::Str(b"hello"), true, RdbVersion::V12);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            for bad in [&good[..at], &bad] {
                assert_eq!(restore(bad, true).unwrap_err().kind, ErrorKind::PayloadFooter);
            }
            let unverified = restore(&bad, false);
            assert!(at < 7 || unverified.is_ok() == (at != 7 && at != 8), "{at}: {unverified:?}");
        }
        let kind = |payload: &[u8]| restore(payload, false).unwrap_err().kind;
        let crc = [0; 8];
        let with = |body: &[u8], version: u8| [body, &[version, 0], &crc].concat();
        assert_eq!(kind(&with(b"\0\x01a", 13)), ErrorKind::PayloadFooter);
        assert_eq!(kind(&with(b"\0\x01ab", 10)), ErrorKind::Corrupt("Bytes after the value"));
        assert_eq!(kind(&with(b"\0\x02a", 10)), ErrorKind::UnexpectedEof);
        assert_eq!(kind(&with(b"", 10)), ErrorKind::UnexpectedEof);
        assert_eq!(kind(&with(b"\xff", 10)), ErrorKind::UnknownType(255));
        assert_eq!(kind(&with(b"\x07\0", 10)), ErrorKind::UnsupportedType(7));
    }

    proptest! {
        #[test]
        fn what_is_dumped_is_restored(byte: u8, text in prop::collection::vec(any::<u8>(), 0..300), n: i64) {
            let run = [&text[..], &[byte; 100]].concat();
            for compress in [false, true] {
                let back = restore(&dump(ValueRef::Str(&run), compress, RdbVersion::V12), true);
                prop_assert_eq!(back, Ok(Value::Str(run.clone())));
                prop_assert_eq!(restore(&dump(ValueRef::Int(n), compress, RdbVersion::V12), true), Ok(Value::Int(n)));
            }
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let payload = [&bytes[..], &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
            drop(restore(&payload, false));
        }
    }
}
