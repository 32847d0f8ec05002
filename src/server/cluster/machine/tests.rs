//! Several machines on a network in memory.
