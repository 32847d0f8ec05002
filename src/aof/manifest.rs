//! The manifest: which files the append-only file is made of.
//!
//! One line a file, `file <name> seq <number> type <b|h|i>`, keys and values in pairs so that later versions may add
//! some: the base file, then the files of the past that are yet to be deleted, then the incremental files in order.

use crate::sys::durable::write_durably;
use crate::util::args::{needs_quote, quote, split_args};
use std::fmt;
use std::io;
use std::path::Path;

/// The longest line, with its end.
const MAX_LINE: usize = 1024;

/// One file of the append-only file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AofFile {
    /// Without a directory.
    pub name: String,
    pub seq: u64,
}

/// All files of the append-only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<AofFile>,
    /// Files that rewrites have made superfluous: those of the last rewrite first.
    pub history: Vec<AofFile>,
    /// What was executed since the base file, oldest first. The last is the one that is written to.
    pub incr: Vec<AofFile>,
    /// The last numbers given out.
    pub base_seq: u64,
    pub incr_seq: u64,
    /// Not on disk in this form.
    pub dirty: bool,
}

/// Why a manifest makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line's number, from 1, and its text, if it is a line that is wrong.
    pub line: Option<(usize, String)>,
    /// In Redis's words.
    pub reason: &'static str,
}

impl fmt::Display for ManifestError {
    /// As Redis logs it: a headline, the line, the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n*** FATAL AOF MANIFEST FILE ERROR ***\n")?;
        if let Some((number, text)) = &self.line {
            write!(f, "Reading the manifest file, at line {number}\n>>> '{text}'\n")?;
        }
        f.write_str(self.reason)
    }
}

impl std::error::Error for ManifestError {}

const FORMAT: &str = "Invalid AOF manifest file format";

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err(ManifestError { line: None, reason: "Found an empty AOF manifest" });
        }
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if line.starts_with(b"#") {
                continue;
            }
            if line.len() > MAX_LINE || !line.ends_with(b"\n") {
                let reason = "The AOF manifest file contains too long line";
                return Err(ManifestError { line: None, reason });
            }
            let line = line.trim_ascii();
            manifest.parse_line(line).map_err(|reason| {
                let text = String::from_utf8_lossy(line).into_owned();
                ManifestError { line: Some((index + 1, text)), reason }
            })?;
        }
        Ok(manifest)
    }

    fn parse_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = split_args(line).ok_or(FORMAT)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(FORMAT);
        }
        let (mut name, mut seq, mut kind) = (None, 0, None);
        for pair in words.chunks_exact(2) {
            let value = String::from_utf8(pair[1].clone()).map_err(|_| FORMAT)?;
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" if value.contains('/') => {
                    return Err("File can't be a path, just a filename");
                }
                b"file" => name = Some(value),
                b"seq" => seq = value.parse().unwrap_or(0),
                b"type" => kind = value.bytes().next(),
                _ => {}
            }
        }
        let (Some(name), 1.., Some(kind)) = (name, seq, kind) else { return Err(FORMAT) };
        let file = AofFile { name, seq };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = seq;
                self.base = Some(file);
            }
            b'h' => self.history.push(file),
            b'i' if seq <= self.incr_seq => return Err("Found a non-monotonic sequence number"),
            b'i' => {
                self.incr_seq = seq;
                self.incr.push(file);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incr.is_empty()
    }

    /// The files to load, in their order.
    pub fn files(&self) -> impl Iterator<Item = &AofFile> {
        self.base.iter().chain(&self.incr)
    }

    /// A new base file; the old one is history. `prefix`: `appendfilename`.
    pub fn add_base(&mut self, prefix: &str, is_rdb: bool) -> String {
        if let Some(old) = self.base.take() {
            self.history.insert(0, old);
        }
        self.base_seq += 1;
        let format = if is_rdb { "rdb" } else { "aof" };
        let name = format!("{prefix}.{}.base.{format}", self.base_seq);
        self.base = Some(AofFile { name: name.clone(), seq: self.base_seq });
        self.dirty = true;
        name
    }

    /// A new incremental file behind the others.
    pub fn add_incr(&mut self, prefix: &str) -> String {
        self.incr_seq += 1;
        let name = format!("{prefix}.{}.incr.aof", self.incr_seq);
        self.incr.push(AofFile { name: name.clone(), seq: self.incr_seq });
        self.dirty = true;
        name
    }

    /// A new base file holds what these files did: they are history, all but the last `kept`.
    pub fn retire_incr(&mut self, kept: usize) {
        let gone = self.incr.len().saturating_sub(kept);
        self.history.splice(0..0, self.incr.drain(..gone));
        self.dirty = true;
    }

    /// Writes the manifest to its place in `dir`, if it is not there in this form: made durable under another name,
    /// then renamed.
    ///
    /// # Errors
    /// What writing reports; the old manifest is still there.
    pub fn persist(&mut self, dir: &Path, prefix: &str) -> io::Result<()> {
        if self.dirty {
            let target = dir.join(manifest_name(prefix));
            let temporary = dir.join(format!("temp-{}", manifest_name(prefix)));
            write_durably(&temporary, &target, self.to_string().as_bytes())?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// The name of the manifest. `prefix`: `appendfilename`.
pub fn manifest_name(prefix: &str) -> String {
    format!("{prefix}.manifest")
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.base.iter().map(|file| (file, 'b'));
        let history = self.history.iter().map(|file| (file, 'h'));
        let incr = self.incr.iter().map(|file| (file, 'i'));
        for (AofFile { name, seq }, kind) in base.chain(history).chain(incr) {
            if needs_quote(name.as_bytes()) {
                let quoted = quote(name.as_bytes());
                writeln!(f, "file {} seq {seq} type {kind}", String::from_utf8_lossy(&quoted))?;
            } else {
                writeln!(f, "file {name} seq {seq} type {kind}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_from_its_text() {
        let mut manifest = Manifest::default();
        let name = " file seq \n\n.aof ";
        assert_eq!(manifest.add_base(name, true), " file seq \n\n.aof .1.base.rdb");
        manifest.add_incr(name);
        manifest.add_incr(name);
        manifest.add_base(name, false);
        manifest.retire_incr(1);
        let text = manifest.to_string();
        assert_eq!(
            text,
            "file \" file seq \\n\\n.aof .2.base.aof\" seq 2 type b\n\
             file \" file seq \\n\\n.aof .1.incr.aof\" seq 1 type h\n\
             file \" file seq \\n\\n.aof .1.base.rdb\" seq 1 type h\n\
             file \" file seq \\n\\n.aof .2.incr.aof\" seq 2 type i\n"
        );
        manifest.dirty = false;
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest));
    }

    #[test]
    fn what_later_versions_add_is_ignored() {
        let text = b"# a comment\nfile a seq 1 type b newkey newvalue\nFILE b SEQ 7 TYPE incr\n";
        let manifest = Manifest::parse(text).unwrap();
        let names: Vec<_> = manifest.files().map(|file| file.name.as_str()).collect();
        assert_eq!((names.as_slice(), manifest.incr_seq), (&["a", "b"][..], 7));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, line, reason) in [
            ("", None, "Found an empty AOF manifest"),
            ("file a seq 1 type b", None, "The AOF manifest file contains too long line"),
            ("\n", Some(1), FORMAT),
            ("file a seq 1 type i\n\n", Some(2), FORMAT),
            ("filx a seq 1 type b\n", Some(1), FORMAT),
            ("file a seq 1 type b x\n", Some(1), FORMAT),
            ("file a seq 0 type b\n", Some(1), FORMAT),
            ("file a/b seq 1 type b\n", Some(1), "File can't be a path, just a filename"),
            ("file a seq 1 type x\n", Some(1), "Unknown AOF file type"),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                Some(2),
                "Found duplicate base file information",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                Some(2),
                "Found a non-monotonic sequence number",
            ),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.line.map(|(number, _)| number), line, "{text:?}");
            assert_eq!(error.reason, reason, "{text:?}");
        }
    }
}
