//! The ten pairings.

use crate::chain::check;
use crate::peers::Kind::{Aeolis, Redis7, Redis8, Valkey};

#[test]
fn redis7_follows_aeolis() {
    check(&[Aeolis, Redis7]);
}

#[test]
fn redis8_follows_aeolis() {
    check(&[Aeolis, Redis8]);
}

#[test]
fn valkey_follows_aeolis() {
    check(&[Aeolis, Valkey]);
}

#[test]
fn aeolis_follows_redis7() {
    check(&[Redis7, Aeolis]);
}

#[test]
fn aeolis_follows_redis8() {
    check(&[Redis8, Aeolis]);
}

#[test]
fn aeolis_follows_valkey() {
    check(&[Valkey, Aeolis]);
}

#[test]
fn aeolis_between_two_redis7() {
    check(&[Redis7, Aeolis, Redis7]);
}

#[test]
fn aeolis_between_two_redis8() {
    check(&[Redis8, Aeolis, Redis8]);
}

#[test]
fn aeolis_between_two_valkeys() {
    check(&[Valkey, Aeolis, Valkey]);
}

#[test]
fn aeolis_follows_itself() {
    check(&[Aeolis, Aeolis, Aeolis]);
}
