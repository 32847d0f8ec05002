//! A command as it is sent and recorded: an array of bulk strings.

/// Arguments from this size on, in bytes, are handed over as they lie.
const LARGE_PIECE: usize = 16 * 1024;

/// Appends a command.
pub fn encode_command(args: &[&[u8]], out: &mut Vec<u8>) {
    encode_header(b'*', args.len(), out);
    for arg in args {
        encode_bulk(arg, out);
    }
}

/// Hands over the bytes of a command in pieces, in order, so that a large one is not held a second time.
pub fn for_each_piece(args: &[&[u8]], mut take: impl FnMut(&[u8])) {
    let size = 32 + args.iter().map(|arg| arg.len() + 16).sum::<usize>();
    let mut small = Vec::with_capacity(size.min(2 * LARGE_PIECE));
    encode_header(b'*', args.len(), &mut small);
    for arg in args {
        if small.len() >= LARGE_PIECE {
            take(&small);
            small.clear();
        }
        if arg.len() < LARGE_PIECE {
            encode_bulk(arg, &mut small);
            continue;
        }
        encode_header(b'$', arg.len(), &mut small);
        take(&small);
        take(arg);
        small.clear();
        small.extend_from_slice(b"\r\n");
    }
    take(&small);
}

/// Appends a bulk string.
pub fn encode_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    encode_header(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before an array or a bulk string.
pub fn encode_header(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_command_are_the_command() {
        let (large, medium) = (vec![b'x'; 3 * LARGE_PIECE], vec![b'y'; LARGE_PIECE - 1]);
        let args: [&[u8]; 6] = [b"MSET", b"a", &large, &medium, &medium, b""];
        for count in 0..=args.len() {
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            encode_command(&args[..count], &mut whole);
            for_each_piece(&args[..count], |piece| pieces.extend_from_slice(piece));
            assert_eq!(pieces, whole);
        }
    }
}
