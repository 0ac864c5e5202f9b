//! The tables and indexes that rpm makes, and no others.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{refused, sql};
use crate::format::rpmdb::INSTALLTID_INDEX;
use crate::format::{Failure, Malformed};

/// The index tables that rpm knows, in the order in which it creates them.
const INDEXES: [&str; 18] = [
    "Name",
    "Basenames",
    "Group",
    "Requirename",
    "Providename",
    "Conflictname",
    "Obsoletename",
    "Triggername",
    "Dirnames",
    INSTALLTID_INDEX,
    "Sigmd5",
    "Sha1header",
    "Filetriggername",
    "Transfiletriggername",
    "Recommendname",
    "Suggestname",
    "Supplementname",
    "Enhancename",
];
/// SQLite's own tables with counters and statistics, which are rebuilt or dropped.
const INTERNAL: [&str; 4] = ["sqlite_sequence", "sqlite_stat1", "sqlite_stat3", "sqlite_stat4"];
/// The tables and indexes of a database, all of them known.
pub(super) struct Schema {
    pub(super) packages: String,
    pub(super) indexes: Vec<Table>,
    /// The indexes of their columns by name.
    pub(super) columns: BTreeMap<String, Column>,
}

/// The index of a column of an index table.
pub(super) struct Column {
    /// The table's name.
    pub(super) table: String,
    pub(super) sql: String,
}

/// One index table.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) sql: String,
}

impl Schema {
    pub(super) fn read(db: &Connection) -> Result<Self, Failure> {
        only_utf8(db)?;
        for own in ["application_id", "user_version"] {
            let pragma = format!("PRAGMA {own}");
            let value: i64 = db.query_row(&pragma, [], |r| r.get(0)).map_err(sql)?;
            if value != 0 {
                return Err(refused(format!("database has an {own}: {value}")).into());
            }
        }
        let query = "SELECT type, name, tbl_name, sql FROM sqlite_master";
        let mut statement = db.prepare(query).map_err(sql)?;
        let objects = statement.query_map([], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get::<_, Option<String>>(3)?))
        });
        let objects: rusqlite::Result<Vec<Object>> = objects.map_err(sql)?.collect();
        Ok(Self::of(objects.map_err(sql)?)?)
    }

    pub(super) fn of(objects: Vec<Object>) -> Result<Self, Malformed> {
        let mut schema =
            Schema { packages: String::new(), indexes: Vec::new(), columns: BTreeMap::new() };
        for (kind, name, table, text) in objects {
            let text = text.unwrap_or_default();
            match kind.as_str() {
                "table" if INTERNAL.contains(&&*name) => {}
                "table" if name == "Packages" && is_packages(&text) => schema.packages = text,
                "table" if INDEXES.contains(&&*name) && is_index_table(&text, &name) => {
                    schema.indexes.push(Table { name, sql: text });
                }
                "index" if is_index(&text, &name, &table) => {
                    schema.columns.insert(name, Column { table, sql: text });
                }
                _ => return Err(refused(format!("rpm does not make a {kind} {name}"))),
            }
        }
        if schema.packages.is_empty() {
            return Err(refused("database has no table of packages"));
        }
        let rank = |name: &str| INDEXES.iter().position(|&known| known == name);
        schema.indexes.sort_by_key(|table| rank(&table.name));
        Ok(schema)
    }

    /// Whether SQLite can parse every text: what [`bare`] removes could be in a wrong place.
    pub(super) fn parses(&self) -> bool {
        let tables = self.indexes.iter().map(|table| &table.sql);
        let columns = self.columns.values().map(|column| &column.sql);
        let mut texts = std::iter::once(&self.packages).chain(tables).chain(columns);
        Connection::open_in_memory()
            .is_ok_and(|db| texts.all(|text| db.execute_batch(text).is_ok()))
    }
}

/// Type, name, table and text of a schema object.
pub(super) type Object = (String, String, String, Option<String>);

/// An SQL text without spaces and quotes, in which rpm's versions differ.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && !matches!(c, '\'' | '"')).collect()
}

fn is_packages(text: &str) -> bool {
    bare(text) == "CREATETABLEPackages(hnumINTEGERPRIMARYKEYAUTOINCREMENT,blobBLOBNOTNULL)"
}

fn is_index_table(text: &str, name: &str) -> bool {
    let of = |class| {
        format!(
            "CREATETABLE{name}(key{class}NOTNULL,hnumINTEGERNOTNULL,idxINTEGERNOTNULL,\
             FOREIGNKEY(hnum)REFERENCESPackages(hnum))"
        )
    };
    ["TEXT", "BLOB"].iter().any(|class| bare(text) == of(class))
}

fn is_index(text: &str, name: &str, table: &str) -> bool {
    ["key", "hnum"].iter().any(|column| {
        name == format!("{table}_{column}_idx")
            && bare(text) == format!("CREATEINDEX{name}ON{table}({column}ASC)")
    })
}

/// Refuses a database that is not in UTF-8, since the normal form is, and texts are copied
/// unchanged.
pub(in super::super) fn only_utf8(db: &Connection) -> Result<(), Failure> {
    let encoding: String = db.query_row("PRAGMA encoding", [], |r| r.get(0)).map_err(sql)?;
    match encoding == "UTF-8" {
        true => Ok(()),
        false => Err(refused(format!("database is in {encoding}")).into()),
    }
}
