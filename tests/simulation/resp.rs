//! Just enough of the protocol for a client: encoding a request, and finding where a reply ends.

/// A request as an array of bulk strings.
pub fn encode(args: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The length of the RESP2 reply at the start of `bytes`, once it is complete.
pub fn reply_end(bytes: &[u8]) -> Option<usize> {
    let line = bytes.iter().position(|b| *b == b'\n')? + 1;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => match number()? {
            n if n < 0 => Some(line),
            n => Some(line + n as usize + 2).filter(|end| *end <= bytes.len()),
        },
        b'*' => {
            let mut end = line;
            for _ in 0..number()?.max(0) {
                end += reply_end(bytes.get(end..)?)?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}

/// The bulk string that a reply is, or those of an array.
pub fn bulks(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = reply;
    while let Some(line) = rest.iter().position(|b| *b == b'\n') {
        let head = &rest[..line];
        rest = &rest[line + 1..];
        let length = head
            .strip_prefix(b"$")
            .and_then(|digits| std::str::from_utf8(digits).ok()?.trim_end().parse::<usize>().ok());
        if let Some(length) = length {
            found.push(rest[..length].to_vec());
            rest = &rest[length + 2..];
        }
    }
    found
}

/// The reply's integer, if it is one.
pub fn integer(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}
