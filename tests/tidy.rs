//! Keeps the rules of the house that a compiler does not know: see `CONTRIBUTING.md`.
//!
//! The rules are read from the text of the sources, which rustfmt keeps in one shape. What breaks a rule today is
//! listed beside it by name; a list may only shrink, so an entry that is no longer needed fails, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The longest line, in characters. rustfmt keeps code to 100; comments and literals may be wider.
const LINE_WIDTH: usize = 120;
/// The longest function, in lines.
const FUNCTION_LINES: usize = 70;

/// The floors of the house: a module may use those on its own floor and below.
const FLOORS: [(&str, u8); 19] = [
    ("main", 7),
    ("cli", 7),
    ("embed", 7),
    ("event_loop", 6),
    ("command", 5),
    ("script", 5),
    ("server", 4),
    ("rdb", 3),
    ("aof", 3),
    ("bus", 3),
    ("db", 2),
    ("lua", 2),
    ("value", 1),
    ("spec", 1),
    ("ds", 0),
    ("resp", 0),
    ("util", 0),
    ("sys", 0),
    ("lib", 7),
];

/// Modules that can be got to from themselves by imports, without those between a parent and its children: (folder,
/// module).
const CIRCLES: &[(&str, &str)] = &[];

/// Where `unsafe` may stand.
const UNSAFE: [&str; 9] = [
    "src/db/entry.rs",
    "src/ds/member",
    "src/ds/packed.rs",
    "src/ds/sorted_set/",
    "src/ds/table/",
    "src/sys/",
    "src/util/alloc",
    "src/util/simd.rs",
    "tests/tidy.rs",
];

/// Where `Server` has methods: what the loop calls on it, its clock and its log. Everything else that concerns several
/// of its parts is a function in the module of its subject, so that imports show who uses what.
const SERVER_METHODS: [&str; 3] =
    ["src/server/mod.rs", "src/server/networking.rs", "src/server/observe/log.rs"];

/// The most fields that the server has: each an owner of its state.
const SERVER_FIELDS: usize = 20;

/// Functions that are longer than they should be: (file, function).
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// A source file.
struct Source {
    /// From the repository's root.
    path: String,
    text: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Modules that are compiled for tests alone: where their declaration stands, and it: `name;` or `name {`.
    fn test_modules(&self) -> impl Iterator<Item = (usize, &str)> {
        const TEST: &str = "\n#[cfg(test)]\nmod ";
        let declaration = |at: usize| self.text[at + TEST.len()..].lines().next();
        self.text.match_indices(TEST).filter_map(move |(at, _)| Some((at, declaration(at)?)))
    }

    /// What is compiled into the crate: the text without comments and unit tests, which stand last.
    fn code(&self) -> String {
        let tests = self.test_modules().find(|(_, module)| module.ends_with('{'));
        let code = &self.text[..tests.map_or(self.text.len(), |(at, _)| at)];
        let without_comment =
            |line: &'_ str| line.split("//").next().unwrap_or_default().to_string();
        code.lines().map(without_comment).collect::<Vec<_>>().join("\n")
    }

    /// Its modules from the crate's root on, for files under `src/`: none for `lib.rs`.
    fn module_path(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        Some(path.split('/').filter(|name| *name != "lib").map(str::to_string).collect())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a folder's entry").path();
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = vec![root().join("build.rs")];
    for folder in ["src", "tests", "benches"] {
        files_below(&root().join(folder), "rs", &mut paths);
    }
    paths.sort();
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(root()).expect("below the root").display().to_string(),
        text: fs::read_to_string(&path).expect("a source file in UTF-8"),
    };
    paths.into_iter().map(read).collect()
}

fn assert_none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

/// Compares what breaks a rule with the list of what may.
fn assert_listed(what: &str, found: &BTreeSet<(String, String)>, listed: &[(&str, &str)]) {
    let listed: BTreeSet<(String, String)> =
        listed.iter().map(|&(a, b)| (a.to_string(), b.to_string())).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(found).collect();
    assert!(new.is_empty(), "{what}: {new:#?}");
    assert!(gone.is_empty(), "no longer so, take it from the list of exceptions: {gone:#?}");
}

#[test]
fn each_file_says_what_it_is_for() {
    let faults: Vec<String> =
        sources().into_iter().filter(|s| !s.text.starts_with("//!")).map(|s| s.path).collect();
    assert_none("without an opening comment", &faults);
}

#[test]
fn modules_with_children_are_in_their_folder() {
    let has_folder = |path: &String| {
        let name = path.strip_prefix("src/").and_then(|name| name.strip_suffix(".rs"));
        name.is_some_and(|name| root().join("src").join(name).is_dir())
    };
    let found: Vec<String> = sources().into_iter().map(|s| s.path).filter(has_folder).collect();
    assert_none("beside the folder of its children", &found);
}

#[test]
fn lines_fit_the_width() {
    let mut faults = Vec::new();
    for source in sources() {
        for (at, line) in source.lines() {
            let is_text = line.contains('"') && !line.trim_start().starts_with("//");
            if line.chars().count() > LINE_WIDTH && !is_text && !line.ends_with('\\') {
                faults.push(format!("{}:{at}", source.path));
            }
        }
    }
    assert_none("wider than the width", &faults);
}

/// The functions of a file: name and lines. In rustfmt's shape a body ends at the indentation it began at.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        let Some((before, after)) = body.split_once("fn ") else { continue };
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "extern", "\"C\""];
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() || !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
            continue;
        }
        let is_end = |line: &str| {
            line.strip_prefix(indent)
                .is_some_and(|l| l == "}" || l.ends_with(';') && !l.starts_with(' '))
        };
        let is_one_line = line.ends_with('}') || line.ends_with(';');
        let len = lines[start..].iter().position(|line| is_end(line)).map_or(1, |n| n + 1);
        found.push((name, if is_one_line { 1 } else { len }));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut found = BTreeSet::new();
    for source in sources() {
        for (name, len) in functions(&source) {
            if len > FUNCTION_LINES {
                found.insert((source.path.clone(), name));
            }
        }
    }
    assert_listed("longer than a function should be", &found, LONG_FUNCTIONS);
}

#[test]
fn the_server_has_methods_in_a_few_files() {
    let files = sources()
        .into_iter()
        .filter(|source| source.path.starts_with("src/") && source.text.contains("\nimpl Server {"))
        .map(|source| source.path);
    assert_eq!(files.collect::<Vec<_>>(), SERVER_METHODS);
}

#[test]
fn the_server_is_a_few_private_parts() {
    let source = sources().into_iter().find(|source| source.path == "src/server/mod.rs");
    let text = source.expect("the file").text;
    let (_, fields) = text.split_once("\npub struct Server {\n").expect("the struct");
    let (fields, _) = fields.split_once("\n}\n").expect("its end");
    let fields = fields.lines().filter(|line| !line.trim_start().starts_with("//"));
    let public: Vec<&str> = fields.clone().filter(|line| line.starts_with("    pub ")).collect();
    assert_eq!(public, [""; 0], "fields that any crate may change");
    assert!(fields.count() <= SERVER_FIELDS, "state wants an owner");
}

#[test]
fn unsafe_stays_where_it_may_be() {
    let mut faults = Vec::new();
    for source in sources() {
        let may = UNSAFE.iter().any(|place| source.path.starts_with(place));
        let uses = |line: &str| {
            let code = line.split("//").next().unwrap_or_default();
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        };
        faults.extend(
            source
                .lines()
                .filter(|(_, line)| !may && uses(line))
                .map(|(at, _)| format!("{}:{at}", source.path)),
        );
    }
    assert_none("unsafe outside its modules", &faults);
}

/// The paths that a file's code names from the crate's root on, be it in a `use` or in passing.
fn named_paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                continue;
            }
            let start = if root == "crate::" { Vec::new() } else { parent(module).to_vec() };
            read_path(&mut &code[at + root.len()..], start, &mut found);
        }
    }
    found
}

fn parent(module: &[String]) -> &[String] {
    module.split_last().map_or(&[], |(_, rest)| rest)
}

/// Reads what follows a `::`: names, `super`, or a group of paths in braces. `rest` is what stands behind it then.
fn read_path(rest: &mut &str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) {
    if let Some(group) = rest.strip_prefix('{') {
        *rest = group;
        while !rest.starts_with('}') {
            *rest = rest.trim_start_matches([' ', '\n', ',']);
            read_path(rest, path.clone(), found);
            *rest = rest.trim_start_matches([' ', '\n', ',']);
        }
        *rest = &rest[1..];
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let name = &rest[..end];
    *rest = &rest[end..];
    match name {
        "super" => drop(path.pop()),
        "self" | "" => {}
        name => path.push(name.to_string()),
    }
    match rest.strip_prefix("::") {
        Some(more) => {
            *rest = more;
            read_path(rest, path, found);
        }
        None => {
            // Behind it may be `as name`, or it was a `*`.
            let end = rest.find([',', '}', ';', '\n']).unwrap_or(rest.len());
            *rest = &rest[end..];
            found.push(path);
        }
    }
}

/// The paths that a file passes on under their last names.
fn passed_on(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for keywords in ["\npub use ", "\npub(crate) use ", "\npub(super) use "] {
        for (at, _) in code.match_indices(keywords) {
            let path = &code[at + keywords.len()..];
            match path.strip_prefix("crate::") {
                Some(mut path) => read_path(&mut path, Vec::new(), &mut found),
                None => read_path(&mut &*path, module.to_vec(), &mut found),
            }
        }
    }
    found
}

/// Which module of the crate names which other one, be it by a path that a third one passes on. What is compiled for
/// tests alone doesn't count.
fn imports() -> BTreeSet<(Vec<String>, Vec<String>)> {
    let sources: BTreeMap<Vec<String>, Source> =
        sources().into_iter().filter_map(|source| Some((source.module_path()?, source))).collect();
    let test_modules = |(module, source): (&Vec<String>, &Source)| {
        let names = source.test_modules().filter_map(|(_, module)| module.strip_suffix(';'));
        names.map(|name| [&module[..], &[name.to_string()]].concat()).collect::<Vec<_>>()
    };
    let for_tests: BTreeSet<Vec<String>> = sources.iter().flat_map(test_modules).collect();
    let mut passed = BTreeMap::new();
    for (module, source) in &sources {
        for path in passed_on(&source.code(), module) {
            let name = path.last().cloned().into_iter();
            passed.insert(module.iter().cloned().chain(name).collect::<Vec<_>>(), path);
        }
    }
    let mut found = BTreeSet::new();
    for (module, source) in sources.iter().filter(|(module, _)| !for_tests.contains(*module)) {
        for mut path in named_paths(&source.code(), module) {
            // What is left when the item's own name is gone; the crate's root at last.
            while !sources.contains_key(&path) {
                path = passed.get(&path).cloned().unwrap_or_else(|| parent(&path).to_vec());
            }
            found.insert((module.clone(), path));
        }
    }
    found
}

#[test]
fn imports_run_downward() {
    let floors: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    let floor = |module: &str| {
        floors.get(module).copied().unwrap_or_else(|| panic!("{module} has no floor yet"))
    };
    let mut found = Vec::new();
    for (module, named) in imports() {
        if let (Some(from), Some(to)) = (module.first(), named.first())
            && floor(to) > floor(from)
        {
            found.push(format!("{} names {}", module.join("::"), named.join("::")));
        }
    }
    assert_none("an import runs upward", &found);
}

/// Of the modules in one folder, each with all that is below it, none may get back to itself by imports. (A parent and
/// what is below it may name each other.)
#[test]
fn imports_do_not_run_in_circles() {
    // By folder: who names whom.
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, named) in imports() {
        let common = module.iter().zip(&named).take_while(|(a, b)| a == b).count();
        if let (Some(from), Some(to)) = (module.get(common), named.get(common)) {
            let folder = folders.entry(module[..common].join("/")).or_default();
            folder.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    let mut found = BTreeSet::new();
    for (folder, names) in &folders {
        for module in names.keys() {
            let mut reached = BTreeSet::new();
            let mut next = vec![module];
            while let Some(at) = next.pop() {
                let named = names.get(at).into_iter().flatten();
                next.extend(named.filter(|&name| reached.insert(name)));
            }
            if reached.contains(module) {
                found.insert((folder.clone(), module.clone()));
            }
        }
    }
    assert_listed("imports run in a circle", &found, CIRCLES);
}

#[test]
fn paths_are_found_in_code() {
    let module = ["server", "acl", "rules"].map(String::from);
    let code = "use crate::a::{b, c::{D, self}, e as f};\nuse super::super::g::*;\nlet x = super::h(crate::i::J::new());";
    let found = named_paths(code, &module);
    let found: BTreeSet<String> = found.into_iter().map(|path| path.join("::")).collect();
    let expected = ["a::b", "a::c", "a::c::D", "a::e", "i::J::new", "server::acl::h", "server::g"];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn documents_name_files_that_exist() {
    let mut documents = Vec::new();
    files_below(&root().join("docs"), "md", &mut documents);
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let mut faults = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document in UTF-8");
        // What stands between backticks and begins with a folder of the repository is a path.
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split([' ', ':', '#']).next().unwrap_or_default();
            let folders = ["src/", "tests/", "benches/", "docs/", "fuzz/", ".ci/"];
            let is_path =
                folders.iter().any(|f| path.starts_with(f)) && !path.contains(['*', '…', '<']);
            if is_path && !root().join(path).exists() {
                faults.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert_none("a file that does not exist is named", &faults);
}
