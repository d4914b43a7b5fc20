//! Archives that are whole, and every way in which one may not be.

use serde_json::{Value as Json, json};

use super::*;
use crate::audit::merkle::{CompactRange, leaf_hash};
use crate::error::ErrorKind;
use crate::id::TenantId;

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false }
}

static LAYOUT: Layout = Layout {
    version: 3,
    tables: &[
        Table { name: "tenants", columns: &[column("tenant_id", Kind::Id), column("state", Kind::Text)] },
        Table {
            name: "notes",
            columns: &[
                column("tenant_id", Kind::Id),
                column("number", Kind::Int),
                column("weight", Kind::Real),
                column("text", Kind::Text),
                Column { name: "hash", kind: Kind::Hash, nullable: true },
            ],
        },
        Table {
            name: "audit_log",
            columns: &[
                column("log_id", Kind::Id),
                column("seq", Kind::Int),
                column("leaf", Kind::Hash),
                column("bytes", Kind::Bytes),
            ],
        },
    ],
};

fn tenant() -> TenantId {
    crate::id::Id::from_uuid_unchecked(uuid::Uuid::from_bytes([7; 16]))
}

fn id() -> Value {
    Value::Bytes(vec![7; 16])
}

type Rows = Vec<(usize, Vec<Value>)>;

fn note(number: i64, text: &str) -> (usize, Vec<Value>) {
    let hash = if number % 2 == 0 { Value::Null } else { Value::Bytes(vec![1; 32]) };
    (1, vec![id(), Value::Int(number), Value::Real(-0.0), Value::Text(text.into()), hash])
}

fn record(seq: i64, bytes: &[u8]) -> (usize, Vec<Value>) {
    let leaf = Value::Bytes(leaf_hash(bytes).as_bytes().to_vec());
    (2, vec![id(), Value::Int(seq), leaf, Value::Bytes(bytes.to_vec())])
}

fn rows() -> Rows {
    let mut rows = vec![(0, vec![id(), Value::Text("active".into())])];
    rows.extend((0..5).map(|number| note(number, "a text\u{0}with anything ✓")));
    rows.extend([record(0, b"one"), record(1, b"two")]);
    rows
}

fn header() -> Header {
    let mut log = CompactRange::default();
    log.extend([leaf_hash(b"one"), leaf_hash(b"two")]);
    Header {
        schema: 3,
        tenant: tenant(),
        state: TenantState::Active,
        exported_at: Timestamp::from_micros(1_700_000_000_000_000),
        store: "test".into(),
        audit: Checkpoint { size: log.size(), root: log.root() },
    }
}

fn written(header: Header, rows: &Rows) -> (ArchiveSummary, Vec<u8>) {
    let mut writer = Writer::new(Vec::new(), header, &LAYOUT).unwrap();
    for (table, row) in rows {
        writer.row(*table, row).unwrap();
    }
    writer.finish().unwrap()
}

fn kind(bytes: &[u8]) -> Option<ErrorKind> {
    verify(bytes, &LAYOUT).err().map(|error| error.kind())
}

/// The frames of an archive.
fn frames(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let stream = zstd::decode_all(&bytes[12..bytes.len() - 32]).unwrap();
    let (mut frames, mut rest) = (Vec::new(), stream.as_slice());
    while let [kind, a, b, c, d, behind @ ..] = rest {
        let (body, behind) = behind.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        frames.push((*kind, body.to_vec()));
        rest = behind;
    }
    frames
}

/// An archive of these frames, everything around them as it should be.
fn packed(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (kind, body) in frames {
        stream.push(*kind);
        stream.extend((body.len() as u32).to_le_bytes());
        stream.extend(body);
    }
    sealed(&zstd::encode_all(stream.as_slice(), 3).unwrap())
}

fn sealed(stream: &[u8]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &[1, 0, 0, 1], stream].concat();
    bytes.extend(crate::canonical::sha256(&[&bytes]));
    bytes
}

/// The same frames with a manifest and ends that fit them.
fn fitting(mut frames: Vec<(u8, Vec<u8>)>) -> Vec<u8> {
    let (mut tables, mut all, mut table) = (Vec::new(), Vec::new(), Vec::new());
    let (mut name, mut count) = (Json::Null, 0_u64);
    for (kind, body) in &mut frames {
        match *kind {
            kind::TABLE => {
                name = serde_json::from_slice::<Json>(body).unwrap()["name"].take();
                (count, table) = (0, Vec::new());
            }
            kind::ROWS => {
                table.extend_from_slice(body);
                let mut rest = body.as_slice();
                while let [a, b, c, d, behind @ ..] = rest {
                    rest = behind.get(u32::from_le_bytes([*a, *b, *c, *d]) as usize..).unwrap_or_default();
                    count += 1;
                }
            }
            kind::END => {
                let digest = crate::canonical::sha256(&[&table]);
                *body = [&count.to_le_bytes()[..], &digest].concat();
                tables.push(json!({ "name": name, "rows": count, "digest": hex::encode(digest) }));
            }
            kind::MANIFEST => {
                let digest = hex::encode(crate::canonical::sha256(&[&all]));
                *body = crate::canonical::to_bytes(&json!({ "digest": digest, "tables": tables })).unwrap();
            }
            _ => {}
        }
        all.push(*kind);
        all.extend((body.len() as u32).to_le_bytes());
        all.extend_from_slice(body);
    }
    packed(&frames)
}

/// An archive of these rows, which the writer itself might refuse.
fn planted(rows: &Rows) -> Vec<u8> {
    let mut frames = frames(&written(header(), &self::rows()).1);
    for (place, table) in LAYOUT.tables.iter().enumerate() {
        let begin = frames
            .iter()
            .position(|(kind, body)| {
                *kind == kind::TABLE && {
                    serde_json::from_slice::<Json>(body).unwrap()["name"] == table.name
                }
            })
            .unwrap();
        frames.retain({
            let mut at = 0;
            move |(kind, _)| {
                at += 1;
                at != begin + 2 || *kind != kind::ROWS
            }
        });
        let mut body = Vec::new();
        for (_, row) in rows.iter().filter(|(of, _)| *of == place) {
            let mut encoded = Vec::new();
            row.iter().for_each(|value| super::write::encode(value, &mut encoded).unwrap());
            body.extend((encoded.len() as u32).to_le_bytes());
            body.extend(encoded);
        }
        if !body.is_empty() {
            frames.insert(begin + 1, (kind::ROWS, body));
        }
    }
    fitting(frames)
}

#[test]
fn what_was_written_is_read() {
    let (summary, bytes) = written(header(), &rows());
    let mut reader = Reader::open(bytes.as_slice(), &LAYOUT).unwrap();
    assert_eq!(*reader.header(), header());
    let mut read = Vec::new();
    while let Some(row) = reader.row().unwrap() {
        read.push(row);
    }
    // Byte by byte: `==` takes -0.0 for 0.0.
    assert_eq!(format!("{read:?}"), format!("{:?}", rows()));
    assert_eq!(reader.into_summary().unwrap(), summary);
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!((summary.rows, summary.tables[1].rows), (8, 5));
    assert_eq!(summary.digest.as_bytes()[..], bytes[bytes.len() - 32..]);
    // The helpers below make what the writer makes.
    assert_eq!(frames(&planted(&rows())), frames(&bytes));
}

#[test]
fn many_rows_and_large_ones_are_read() {
    let mut all = rows();
    let large = "x".repeat(3 << 20);
    all.splice(6..6, (5..3000).map(|number| note(number, "short")).chain([note(3000, &large)]));
    let (summary, bytes) = written(header(), &all);
    assert_eq!(verify(bytes.as_slice(), &LAYOUT).unwrap(), summary);
    assert_eq!(summary.tables[1].rows, 3001);
    let mut writer = Writer::new(Vec::new(), header(), &LAYOUT).unwrap();
    let too_large = note(0, &"x".repeat(MAX_ROW));
    assert_eq!(writer.row(1, &too_large.1).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn an_archive_that_ends_anywhere_is_refused() {
    let (_, bytes) = written(header(), &rows());
    for end in 0..bytes.len() {
        assert_eq!(kind(&bytes[..end]), Some(ErrorKind::Corrupt), "{end} of {}", bytes.len());
    }
}

#[test]
fn what_follows_an_archive_is_refused() {
    let (_, bytes) = written(header(), &rows());
    // A skippable frame of zstd is nothing to its decoder.
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    for more in [&[0][..], b"more", &skippable, &bytes.clone()] {
        assert_eq!(kind(&[&bytes, more].concat()), Some(ErrorKind::Corrupt));
    }
    let stream = &bytes[12..bytes.len() - 32];
    assert_eq!(kind(&sealed(stream)), None);
    assert_eq!(kind(&sealed(&[stream, &skippable].concat())), Some(ErrorKind::Corrupt));
    let mut more = frames(&bytes);
    more.push((kind::ROWS, vec![0]));
    assert_eq!(kind(&packed(&more)), Some(ErrorKind::Corrupt));
}

#[test]
fn every_flipped_bit_is_found() {
    let (_, bytes) = written(header(), &rows());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let found = kind(&flipped);
            let expected: &[ErrorKind] = match at {
                8 | 9 => &[ErrorKind::SchemaTooNew, ErrorKind::Corrupt],
                10 | 11 => &[ErrorKind::Unsupported],
                // The schema's number is read before the checksum behind it.
                _ => &[ErrorKind::Corrupt, ErrorKind::SchemaTooNew, ErrorKind::Unsupported],
            };
            assert!(found.is_some_and(|found| expected.contains(&found)), "{at}.{bit}: {found:?}");
        }
    }
}

#[test]
fn frames_in_another_order_are_refused() {
    let frames = frames(&written(header(), &rows()).1);
    assert_eq!(kind(&fitting(frames.clone())), None);
    for one in 0..frames.len() {
        // The notes can be fewer or more, as far as the frames go; then it is the manifest that knows better.
        let fitting = |frames: Vec<(u8, Vec<u8>)>| if one == 5 { packed(&frames) } else { fitting(frames) };
        let mut without = frames.clone();
        without.remove(one);
        assert_eq!(kind(&fitting(without)), Some(ErrorKind::Corrupt), "without {one}");
        let mut twice = frames.clone();
        twice.insert(one, frames[one].clone());
        assert_eq!(kind(&fitting(twice)), Some(ErrorKind::Corrupt), "{one} twice");
        for other in 0..one {
            let mut swapped = frames.clone();
            swapped.swap(one, other);
            let ends = [one, other].map(|place| frames[place].0 == kind::END) == [true; 2];
            let bytes = if ends { packed(&swapped) } else { fitting(swapped) };
            assert_eq!(kind(&bytes), Some(ErrorKind::Corrupt), "{one} and {other}");
        }
    }
}

/// The frames with this manifest, whose digest fits them.
fn manifest(mut frames: Vec<(u8, Vec<u8>)>, tables: &Json) -> Vec<u8> {
    frames.pop().unwrap();
    let mut all = Vec::new();
    for (kind, body) in &frames {
        all.push(*kind);
        all.extend((body.len() as u32).to_le_bytes());
        all.extend_from_slice(body);
    }
    let digest = hex::encode(crate::canonical::sha256(&[&all]));
    let body = json!({ "digest": digest, "tables": tables });
    frames.push((kind::MANIFEST, crate::canonical::to_bytes(&body).unwrap()));
    packed(&frames)
}

#[test]
fn counts_and_digests_that_do_not_fit_are_found_wherever_they_stand() {
    let (summary, bytes) = written(header(), &rows());
    let (frames, tables) = (frames(&bytes), serde_json::to_value(&summary.tables).unwrap());
    assert_eq!(kind(&manifest(frames.clone(), &tables)), None);
    // At the end of a table.
    for at in [0, 8] {
        let mut other = frames.clone();
        other[6].1[at] ^= 1;
        assert_eq!(kind(&manifest(other, &tables)), Some(ErrorKind::Corrupt));
    }
    // In the manifest.
    let mut more = tables.clone();
    more[1]["rows"] = json!(6);
    assert_eq!(kind(&manifest(frames.clone(), &more)), Some(ErrorKind::Corrupt));
    let mut other = tables.clone();
    other[1]["digest"] = tables[0]["digest"].clone();
    assert_eq!(kind(&manifest(frames.clone(), &other)), Some(ErrorKind::Corrupt));
    // And the digest of everything, which alone covers the header.
    let mut later = frames.clone();
    let said = String::from_utf8(later[0].1.clone()).unwrap().replace("\"test\"", "\"else\"");
    assert_ne!(said.as_bytes(), later[0].1);
    later[0].1 = said.into_bytes();
    assert_eq!(kind(&packed(&later)), Some(ErrorKind::Corrupt));
    // The last bytes of the file.
    let mut last = bytes.clone();
    *last.last_mut().unwrap() ^= 1;
    assert_eq!(kind(&last), Some(ErrorKind::Corrupt));
}

#[test]
fn newer_archives_are_told_from_broken_ones() {
    let (_, bytes) = written(header(), &rows());
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(kind(&newer), Some(ErrorKind::SchemaTooNew));
    let (_, newer) = written(Header { schema: 4, ..header() }, &rows());
    assert_eq!(kind(&newer), Some(ErrorKind::SchemaTooNew));
    // A newer one may say more about itself.
    let mut more = frames(&newer);
    let mut said: Json = serde_json::from_slice(&more[0].1).unwrap();
    said["later"] = json!(true);
    more[0].1 = serde_json::to_vec(&said).unwrap();
    assert_eq!(kind(&fitting(more)), Some(ErrorKind::SchemaTooNew));
    let (_, older) = written(Header { schema: 2, ..header() }, &rows());
    assert_eq!(kind(&older), Some(ErrorKind::Unsupported));
}

#[test]
fn other_tables_and_columns_are_refused() {
    let frames = frames(&written(header(), &rows()).1);
    for (old, new) in [("\"notes\"", "\"notez\""), ("\"number\",", ""), ("\"hash\"", "\"hash\",\"more\"")] {
        let mut other = frames.clone();
        for (_, body) in other.iter_mut().filter(|(kind, _)| *kind == kind::TABLE) {
            *body = String::from_utf8(body.clone()).unwrap().replace(old, new).into_bytes();
        }
        assert_ne!(other, frames);
        assert_eq!(kind(&fitting(other)), Some(ErrorKind::Corrupt), "{new}");
    }
}

#[test]
fn rows_of_another_tenant_and_of_another_form_are_refused() {
    let bad: Vec<Vec<Value>> = vec![
        [vec![Value::Bytes(vec![8; 16])], note(9, "theirs").1[1..].to_vec()].concat(),
        [vec![Value::Bytes(vec![7; 15])], note(9, "short").1[1..].to_vec()].concat(),
        [vec![Value::Null], note(9, "nobody's").1[1..].to_vec()].concat(),
        note(9, "few").1[..4].to_vec(),
        [note(9, "many").1, vec![Value::Null]].concat(),
        vec![id(), Value::Text("1".into()), Value::Real(0.0), Value::Text("t".into()), Value::Null],
        vec![id(), Value::Null, Value::Real(0.0), Value::Text("t".into()), Value::Null],
        vec![id(), Value::Int(1), Value::Real(0.0), Value::Text("t".into()), Value::Bytes(vec![1; 31])],
        vec![],
    ];
    for row in bad {
        let mut all = rows();
        all.insert(4, (1, row.clone()));
        assert_eq!(kind(&planted(&all)), Some(ErrorKind::Corrupt), "{row:?}");
        let mut writer = Writer::new(Vec::new(), header(), &LAYOUT).unwrap();
        assert_eq!(writer.row(1, &row).unwrap_err().kind(), ErrorKind::Corrupt, "{row:?}");
    }
    // Texts are texts.
    let mut frames = frames(&written(header(), &rows()).1);
    let body = &mut frames.iter_mut().filter(|(kind, _)| *kind == kind::ROWS).nth(1).unwrap().1;
    let at = body.windows(6).position(|part| part == b"a text").unwrap();
    body[at] = 0xff;
    assert_eq!(kind(&fitting(frames)), Some(ErrorKind::Corrupt));
}

#[test]
fn an_audit_log_that_is_not_the_one_it_says_is_refused() {
    let base: Rows = rows().into_iter().filter(|(table, _)| *table < 2).collect();
    let with = |log: Vec<(usize, Vec<Value>)>| planted(&[base.clone(), log].concat());
    assert_eq!(kind(&with(vec![record(0, b"one"), record(1, b"two")])), None);
    // What was erased has its leaf.
    let mut erased = record(0, b"one");
    erased.1[3] = Value::Bytes(vec![]);
    assert_eq!(kind(&with(vec![erased.clone(), record(1, b"two")])), None);
    let mut altered = record(0, b"one");
    altered.1[3] = Value::Bytes(b"won".to_vec());
    for log in [
        vec![record(0, b"one")],
        vec![record(0, b"two"), record(1, b"one")],
        vec![record(0, b"one"), record(2, b"two")],
        vec![record(0, b"one"), record(1, b"two"), record(2, b"three")],
        vec![altered, record(1, b"two")],
    ] {
        assert_eq!(kind(&with(log.clone())), Some(ErrorKind::Corrupt), "{log:?}");
    }
    let log = vec![record(0, b"one"), record(1, b"two")];
    let other = vec![(0, vec![id(), Value::Text("suspended".into())])];
    assert_eq!(kind(&planted(&[other, log.clone()].concat())), Some(ErrorKind::Corrupt));
    assert_eq!(kind(&planted(&log)), Some(ErrorKind::Corrupt), "no tenant");
}

/// Reads what is said to be there, and counts what is taken.
struct Hostile<'a>(&'a [u8]);

impl std::io::Read for Hostile<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(to)
    }
}

#[test]
fn sizes_that_are_only_said_take_no_room() {
    let good = frames(&written(header(), &rows()).1);
    // A frame that says it has 4 GiB, and one that says it has as much as is allowed, with nothing in them.
    for (kind, length) in [(kind::HEADER, u32::MAX), (kind::HEADER, 1 << 20), (kind::HEADER, (1 << 20) + 1)] {
        let stream = [&[kind][..], &length.to_le_bytes()].concat();
        let bytes = sealed(&zstd::encode_all(stream.as_slice(), 3).unwrap());
        assert_eq!(self::kind(&bytes), Some(ErrorKind::Corrupt));
    }
    // A row that says it is longer than its frame, and a value longer than its row.
    for at in [0, 5] {
        let mut frames = good.clone();
        let body = &mut frames.iter_mut().find(|(kind, _)| *kind == kind::ROWS).unwrap().1;
        body[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(self::kind(&packed(&frames)), Some(ErrorKind::Corrupt));
    }
    // A window larger than is allowed.
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.window_log(27).unwrap();
    let mut stream = Vec::new();
    for (kind, body) in &good {
        stream.push(*kind);
        stream.extend((body.len() as u32).to_le_bytes());
        stream.extend(body);
    }
    std::io::copy(&mut Hostile(&stream), &mut encoder).unwrap();
    assert_eq!(self::kind(&sealed(&encoder.finish().unwrap())), Some(ErrorKind::Corrupt));
}
