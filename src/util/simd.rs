//! Loops over bytes with the vector instructions of the processor that runs them, which may have wider ones than those
//! that the binary was built for.

#![allow(unsafe_code)]

/// Runs a loop with the widest vector instructions that there are. What it calls is to be `#[inline(always)]`: it is
/// compiled once for each width, and only what is inlined is.
#[inline]
pub fn widest<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return unsafe { with_avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
