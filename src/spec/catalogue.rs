//! The names and categories of all commands that are known, which is what the rules of ACLs speak of.
//!
//! A rule may name a command that this server lacks, or that `rename-command` has given another name: what a user may
//! do depends on neither.

use super::{AclCategories, CommandSpec};
use std::collections::HashMap;
use std::ops::Range;

/// A command's or subcommand's place in the catalogue.
pub type AclId = usize;

/// At most so many commands: each is one bit of a user's permissions.
pub const MAX_COMMANDS: usize = 1024;

/// One command or subcommand.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    /// The full name (`config|get`).
    pub name: &'static str,
    pub categories: AclCategories,
    /// Its subcommands.
    pub subcommands: Range<AclId>,
    pub is_subcommand: bool,
}

/// All commands, each container before its subcommands.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    entries: Vec<CatalogueEntry>,
    by_name: HashMap<&'static str, AclId>,
}

impl Catalogue {
    /// # Panics
    /// If there are more than [`MAX_COMMANDS`].
    pub fn new(specs: &[CommandSpec]) -> Catalogue {
        let commands = specs.iter().map(|spec| spec.with_subcommands().count()).sum();
        let mut catalogue = Catalogue {
            entries: Vec::with_capacity(commands),
            by_name: HashMap::with_capacity(commands),
        };
        for spec in specs {
            let first = catalogue.entries.len() + 1;
            catalogue.add(spec, first..first + spec.subcommands.len(), false);
            spec.subcommands.iter().for_each(|sub| catalogue.add(sub, 0..0, true));
        }
        assert!(catalogue.entries.len() <= MAX_COMMANDS, "too many commands");
        catalogue
    }

    fn add(&mut self, spec: &CommandSpec, subcommands: Range<AclId>, is_subcommand: bool) {
        self.by_name.insert(spec.name, self.entries.len());
        let (name, categories) = (spec.name, spec.acl_categories);
        self.entries.push(CatalogueEntry { name, categories, subcommands, is_subcommand });
    }

    /// A command by its full name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<AclId> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(name.as_str()).copied()
    }

    pub fn get(&self, id: AclId) -> &CatalogueEntry {
        &self.entries[id]
    }

    /// All commands, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (AclId, &CatalogueEntry)> {
        self.entries.iter().enumerate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::COMMANDS;

    #[test]
    fn containers_know_their_subcommands() {
        let catalogue = Catalogue::new(COMMANDS);
        let config = catalogue.get(catalogue.find(b"Config").unwrap());
        assert!(!config.is_subcommand);
        let names: Vec<_> = config.subcommands.clone().map(|id| catalogue.get(id).name).collect();
        assert!(names.len() > 3 && names.iter().all(|name| name.starts_with("config|")));
        assert!(catalogue.get(catalogue.find(b"CONFIG|get").unwrap()).is_subcommand);
        assert_eq!(catalogue.find(b"config|nosuch"), None);
        assert_eq!(catalogue.find(b"\xff"), None);
    }
}
