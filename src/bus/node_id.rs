//! The name of a node, or of a shard: 40 characters that it keeps for good.

use std::fmt;
use std::str::FromStr;

/// Characters of a name.
pub const NODE_ID_BYTES: usize = 40;

/// The name of a node or of a shard: digits and lower-case letters, of which a server only makes hexadecimal ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; NODE_ID_BYTES]);

/// What was read is no name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANodeId;

impl NodeId {
    /// On the wire: no node.
    pub const NONE: NodeId = NodeId([0; NODE_ID_BYTES]);

    /// A name of its characters.
    ///
    /// # Errors
    /// If these are not 40 digits and lower-case letters.
    pub fn new(bytes: &[u8]) -> Result<NodeId, NotANodeId> {
        let id: [u8; NODE_ID_BYTES] = bytes.try_into().map_err(|_| NotANodeId)?;
        let is_name = id.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        if is_name { Ok(NodeId(id)) } else { Err(NotANodeId) }
    }

    /// The name that 20 random bytes give.
    pub fn from_random(bytes: [u8; NODE_ID_BYTES / 2]) -> NodeId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = [0; NODE_ID_BYTES];
        for (digits, byte) in id.chunks_exact_mut(2).zip(bytes) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        NodeId(id)
    }

    /// A name on the wire, where 40 zeros are none.
    pub(super) fn from_wire(bytes: [u8; NODE_ID_BYTES]) -> Result<Option<NodeId>, NotANodeId> {
        if bytes == Self::NONE.0 { Ok(None) } else { NodeId::new(&bytes).map(Some) }
    }

    /// Its characters.
    pub fn as_bytes(&self) -> &[u8; NODE_ID_BYTES] {
        &self.0
    }

    /// Its characters; empty for none.
    pub fn as_str(&self) -> &str {
        match self {
            &Self::NONE => "",
            NodeId(id) => str::from_utf8(id).unwrap_or_default(),
        }
    }
}

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<NodeId, NotANodeId> {
        NodeId::new(text.as_bytes())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_digits_and_lower_case_letters() {
        let id = NodeId::from_random([0x0f; 20]);
        assert_eq!(id.to_string(), "0f".repeat(20));
        assert_eq!(id.as_str().parse(), Ok(id));
        for wrong in ["", &"a".repeat(39), &"a".repeat(41), &"A".repeat(40), &" ".repeat(40)] {
            assert_eq!(wrong.parse::<NodeId>(), Err(NotANodeId), "{wrong:?}");
        }
        assert_eq!(NodeId::from_wire([0; 40]), Ok(None));
        assert_eq!(NodeId::from_wire(*id.as_bytes()), Ok(Some(id)));
        assert_eq!(NodeId::NONE.to_string(), "");
    }
}
