//! What of a resource is large, and the same for long: what it was declared as, and the path of its file. It stands in rows of its
//! own, each written once, so that what changes often of a resource costs what changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use codeops_core::model::{AsDeclared, LastGood, Memory, ResourceId, ResourceMemory};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use super::projection::put_part;
use super::table::{Sql, damage, json};

/// What each resource was declared as: `declared/app/shop`.
pub(super) const DECLARED: &str = "declared/";
/// Paths by number: `file/17`.
pub(super) const FILE: &str = "file/";

/// A shorter path stands with its resource.
const LONG: usize = 64;

/// What a resource was declared as.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Declared {
    #[serde(skip_serializing_if = "Option::is_none")]
    stays: Option<AsDeclared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stayed: Option<AsDeclared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_good: Option<LastGood>,
}

/// What a resource is without that.
#[derive(Debug, Serialize)]
pub(super) struct Rest {
    #[serde(flatten)]
    memory: ResourceMemory,
    /// Which of the paths is its file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_number: Option<u64>,
}

/// What is written apart.
#[derive(Debug, Default)]
pub(super) struct Large {
    declared: HashMap<ResourceId, Declared>,
    files: HashMap<Arc<str>, Numbered>,
    file_of: HashMap<ResourceId, Arc<str>>,
    last: u64,
}

/// A path that is written.
#[derive(Debug)]
struct Numbered {
    number: u64,
    /// How many resources it is the file of.
    of: usize,
}

impl Large {
    /// Writes what is otherwise than it is written, and answers what is left of a resource.
    pub(super) fn put(&mut self, db: &Connection, id: &ResourceId, resource: &ResourceMemory) -> Sql<Rest> {
        let mut memory = resource.clone();
        let (stays, stayed, last_good) = (memory.stays.take(), memory.stayed.take(), memory.last_good.take());
        self.put_declared(db, id, Declared { stays, stayed, last_good })?;
        let long = memory.file.take_if(|file| file.len() > LONG);
        let file_number = self.put_file(db, id, long.as_ref())?;
        Ok(Rest { memory, file_number })
    }

    /// Takes away what is written of a resource.
    pub(super) fn drop(&mut self, db: &Connection, id: &ResourceId) -> Sql<()> {
        self.put_declared(db, id, Declared::default())?;
        self.put_file(db, id, None).map(drop)
    }

    fn put_declared(&mut self, db: &Connection, id: &ResourceId, now: Declared) -> Sql<()> {
        let is_none = now == Declared::default();
        // Texts that are shared are the same without being compared.
        if self.declared.get(id).map_or(is_none, |written| *written == now) {
            return Ok(());
        }
        put_part(db, &format!("{DECLARED}{id}"), Some(&now).filter(|_| !is_none))?;
        match is_none {
            true => self.declared.remove(id),
            false => self.declared.insert(id.clone(), now),
        };
        Ok(())
    }

    fn put_file(&mut self, db: &Connection, id: &ResourceId, now: Option<&Arc<str>>) -> Sql<Option<u64>> {
        let before = match now {
            Some(file) => self.file_of.insert(id.clone(), Arc::clone(file)),
            None => self.file_of.remove(id),
        };
        let number = match now {
            Some(file) => Some(self.number(db, file)?),
            None => None,
        };
        if let Some(before) = before
            && let Some(numbered) = self.files.get_mut(&before)
        {
            numbered.of -= 1;
            if numbered.of == 0 {
                put_part::<()>(db, &format!("{FILE}{}", numbered.number), None)?;
                self.files.remove(&before);
            }
        }
        Ok(number)
    }

    /// The number of a path that one more resource has.
    fn number(&mut self, db: &Connection, file: &Arc<str>) -> Sql<u64> {
        if let Some(numbered) = self.files.get_mut(file) {
            numbered.of += 1;
            return Ok(numbered.number);
        }
        self.last += 1;
        put_part(db, &format!("{FILE}{}", self.last), Some(file))?;
        self.files.insert(Arc::clone(file), Numbered { number: self.last, of: 1 });
        Ok(self.last)
    }
}

/// What is found of it at opening, row by row.
#[derive(Debug, Default)]
pub(super) struct Found {
    declared: HashMap<ResourceId, Declared>,
    files: BTreeMap<u64, Arc<str>>,
    numbers: HashMap<ResourceId, u64>,
}

impl Found {
    pub(super) fn declared(&mut self, id: &str, row: &Row<'_>) -> Sql<()> {
        self.declared.insert(id.parse().map_err(|error| damage(0, error))?, json(1, row)?);
        Ok(())
    }

    pub(super) fn file(&mut self, number: &str, row: &Row<'_>) -> Sql<()> {
        self.files.insert(number.parse().map_err(|error| damage(0, error))?, json(1, row)?);
        Ok(())
    }

    /// Which of the paths a resource's row names.
    pub(super) fn resource(&mut self, id: &ResourceId, row: &Row<'_>) -> Sql<()> {
        #[derive(Deserialize)]
        struct Numbered {
            #[serde(default)]
            file_number: Option<u64>,
        }
        let Numbered { file_number } = json(1, row)?;
        self.numbers.extend(file_number.map(|number| (id.clone(), number)));
        Ok(())
    }

    /// Puts it where it belongs. What an early version wrote stands in the resource's own row.
    pub(super) fn complete(self, memory: &mut Memory) -> Large {
        let Self { declared, files, numbers } = self;
        let mut large = Large { last: files.keys().max().copied().unwrap_or_default(), ..Large::default() };
        let mut short: BTreeMap<Arc<str>, ()> = BTreeMap::new();
        for (id, resource) in &mut memory.resources {
            if let Some((number, file)) = numbers.get(id).and_then(|number| files.get_key_value(number)) {
                resource.file = Some(Arc::clone(file));
                large.file_of.insert(id.clone(), Arc::clone(file));
                large.files.entry(Arc::clone(file)).or_insert(Numbered { number: *number, of: 0 }).of += 1;
            } else if let Some(file) = &mut resource.file {
                match short.get_key_value(file) {
                    Some((known, ())) => *file = Arc::clone(known),
                    None => drop(short.insert(Arc::clone(file), ())),
                }
            }
            if let Some(it) = declared.get(id) {
                let Declared { stays, stayed, last_good } = it.clone();
                (resource.stays, resource.stayed, resource.last_good) = (stays, stayed, last_good);
            }
        }
        large.declared = declared;
        large
    }
}
