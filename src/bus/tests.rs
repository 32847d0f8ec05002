//! Messages that were written are read; what peers sent is understood; what lies is refused.
