//! The program as it lies in memory: the pages of its file and of its libraries' files.

use std::ffi::{c_int, c_void};
use std::ptr;

/// Lets go of every page of code and constants: who starts has run through more of them than who serves ever will, and
/// they count as resident. What is needed again is mapped again, from the system's cache of files.
///
/// Best effort: what can't be given back stays. Not for a program that embeds a server: a debugger's breakpoints, and
/// whatever else has been patched into code, go with the pages.
pub fn give_back_pages() {
    // SAFETY: the callback has the type that is asked for, and looks at nothing but what it is handed.
    unsafe { libc::dl_iterate_phdr(Some(give_back_segments), ptr::null_mut()) };
}

unsafe extern "C" fn give_back_segments(
    object: *mut libc::dl_phdr_info,
    _: usize,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the description of an object that is loaded, valid during this call, as are its headers.
    let (base, headers) = unsafe {
        let object = &*object;
        let headers = match object.dlpi_phnum {
            0 => &[][..],
            n => std::slice::from_raw_parts(object.dlpi_phdr, n.into()),
        };
        (object.dlpi_addr, headers)
    };
    for header in headers {
        // What was writable when it was loaded has been relocated, though it may be constant since: it is in no file.
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let page = rustix::param::page_size() as u64;
            let begin = (base + header.p_vaddr) / page * page;
            let end = base + header.p_vaddr + header.p_filesz;
            let start = ptr::without_provenance_mut::<c_void>(begin as usize);
            // SAFETY: the segment is a private mapping of a file that nobody has written to: its pages are the file's,
            // before and after.
            unsafe { libc::madvise(start, (end - begin) as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::resident_memory;

    #[test]
    fn code_runs_on_after_its_pages_were_given_back() {
        let text = "constants".repeat(3);
        give_back_pages();
        assert_eq!(text, "constantsconstantsconstants");
        assert!(resident_memory().files > 0);
    }
}
