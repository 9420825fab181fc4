//! The draft of an update: a session's state that remembers what was looked at and what was written.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::proto::{self, CommitRequest};
use crate::reading::Entries;
use crate::value::{from_wire, read, to_wire};

/// A commit takes so many checks by default, and a key so many bytes.
const MAX_CHECKS: usize = 1000;
const MAX_KEY_BYTES: usize = 512;

/// A session's state to change, as [`update`](crate::Client::update) gives it to its function.
///
/// What was looked at is checked by the commit, so that it is made only if that is unchanged; who asks for
/// [`keys`](Self::keys) has looked at everything.
pub struct Draft {
    seen: Entries,
    touched: RefCell<BTreeSet<String>>,
    /// The values of keys that were written, or may have been; `None`: deleted.
    written: BTreeMap<String, Option<Value>>,
    enumerated: Cell<bool>,
}

impl Draft {
    pub(crate) fn new(seen: Entries) -> Self {
        Self { seen, touched: RefCell::default(), written: BTreeMap::new(), enumerated: Cell::new(false) }
    }

    /// A value as the type that is asked for; `None` if there is none. Fails with
    /// [`InvalidValue`](crate::Reason::InvalidValue) if it is not of that type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.touch(key);
        let value = match self.written.get(key) {
            Some(written) => written.clone(),
            None => self.stored(key),
        };
        value.map(|value| read(value, key)).transpose()
    }

    /// A value to change in place; `None` if there is none.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.touch(key);
        if !self.written.contains_key(key) {
            let value = self.stored(key)?;
            self.written.insert(key.to_owned(), Some(value));
        }
        self.written.get_mut(key)?.as_mut()
    }

    /// Whether there is such a key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.touch(key);
        self.has(key)
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.enumerated.set(true);
        let keys: BTreeSet<&String> = self.seen.keys().chain(self.written.keys()).collect();
        keys.into_iter().filter(|key| self.has(key)).cloned().collect()
    }

    /// Writes a value. Fails with [`InvalidValue`](crate::Reason::InvalidValue) and the path to what can't be
    /// kept.
    pub fn set(&mut self, key: impl Into<String>, value: impl Serialize) -> Result<(), Error> {
        let key = key.into();
        let value = from_wire(to_wire(&value, &key)?);
        self.write(key, Some(value));
        Ok(())
    }

    /// Removes a key. Says whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let was_there = self.has(key);
        self.write(key.to_owned(), None);
        was_there
    }

    fn write(&mut self, key: String, value: Option<Value>) {
        self.touch(&key);
        self.written.insert(key, value);
    }

    fn touch(&self, key: &str) {
        self.touched.borrow_mut().insert(key.to_owned());
    }

    fn has(&self, key: &str) -> bool {
        self.written.get(key).map_or_else(|| self.seen.contains_key(key), Option::is_some)
    }

    fn stored(&self, key: &str) -> Option<Value> {
        self.seen.get(key)?.value.clone().map(from_wire)
    }

    /// What is to be committed to the session, which is at that revision; `None`: nothing was changed.
    pub(crate) fn commit(self, session_id: &str, revision: i64) -> Result<Option<CommitRequest>, Error> {
        let mut changes = Vec::new();
        for (key, value) in self.written {
            let before = self.seen.get(&key).and_then(|entry| entry.value.as_ref());
            let change = match value {
                None if before.is_none() => continue,
                None => proto::change::Change::Delete(proto::DeleteChange { key }),
                Some(value) => {
                    let value = to_wire(&value, &key)?;
                    // Compared as messages: the order of members does not count.
                    if before == Some(&value) {
                        continue;
                    }
                    let value = Some(value);
                    proto::change::Change::Set(proto::SetChange { key, value, ..Default::default() })
                }
            };
            changes.push(proto::Change { change: Some(change) });
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let mut commit = CommitRequest { session_id: session_id.to_owned(), changes, ..Default::default() };
        let touched = self.touched.into_inner();
        if self.enumerated.get() || touched.len() > MAX_CHECKS {
            commit.if_revision = Some(revision);
        } else {
            // What can't be a key can't appear either; one that was written is refused with the changes.
            let keys = touched.into_iter().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
            commit.checks = keys
                .map(|key| {
                    let if_revision = self.seen.get(&key).map_or(0, |entry| entry.revision);
                    proto::Check { key, if_revision }
                })
                .collect();
        }
        Ok(Some(commit))
    }
}
