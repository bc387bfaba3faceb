//! Values as PostgreSQL 15 itself reads and writes them: `values.tsv` has a line for each with
//! its type, a setting (zone, style, …), the text given, and what comes of it: the text and the
//! binary form, or an SQLSTATE. `\\`, `\n` and `\t` stand for themselves escaped.

use bytes::BytesMut;
use chronos_catalog::SqlType;

use super::decode;
use super::encode::ColumnWriter;
use crate::session::api::TextSettings;

fn type_named(name: &str) -> SqlType {
    if let Some(item) = name.strip_suffix("[]") {
        return SqlType::Array(Box::new(type_named(item)));
    }
    let (name, argument) = name.split_once('(').unwrap_or((name, ""));
    let numbers: Vec<u32> =
        argument.trim_end_matches(')').split(',').filter_map(|n| n.parse().ok()).collect();
    match (name, numbers.as_slice()) {
        ("bool", _) => SqlType::Bool,
        ("int2", _) => SqlType::Int2,
        ("int4", _) => SqlType::Int4,
        ("int8", _) => SqlType::Int8,
        ("oid", _) => SqlType::Oid,
        ("float4", _) => SqlType::Float4,
        ("float8", _) => SqlType::Float8,
        ("numeric", [p, s]) => SqlType::Numeric(Some((*p as u8, *s as i8))),
        ("date", _) => SqlType::Date,
        ("time", _) => SqlType::Time,
        ("timestamp", _) => SqlType::Timestamp,
        ("timestamptz", _) => SqlType::Timestamptz,
        ("interval", _) => SqlType::Interval,
        ("uuid", _) => SqlType::Uuid,
        ("json", _) => SqlType::Json,
        ("jsonb", _) => SqlType::Jsonb,
        ("bytea", _) => SqlType::Bytea,
        ("text", _) => SqlType::Text,
        ("varchar", [n]) => SqlType::Varchar(Some(*n)),
        ("char", [n]) => SqlType::Char(*n),
        other => panic!("no type {other:?}"),
    }
}

fn unescape(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                other => other.unwrap(),
            },
            c => c,
        });
    }
    out
}

/// The value's text and binary form in hexadecimal digits, or the SQLSTATE.
fn forms(ty: &SqlType, text: &str, settings: &TextSettings) -> Result<(String, String), String> {
    let value = decode::from_text(ty, text, settings).map_err(|e| e.code.to_owned())?;
    let array = value.to_array().unwrap();
    let write = |format| {
        let mut out = BytesMut::new();
        ColumnWriter::new(&array, ty, format, settings).unwrap().write(0, &mut out);
        out
    };
    let (shown, binary) = (write(0), write(1));
    let back = decode::from_binary(ty, &binary).unwrap();
    assert!(
        back == value || format!("{back:?}") == format!("{value:?}"),
        "{text} came back as {back:?}"
    );
    Ok((String::from_utf8(shown.to_vec()).unwrap(), hex::encode(binary)))
}

#[test]
fn values_read_and_write_as_in_postgresql_15() {
    let mut wrong = Vec::new();
    for line in include_str!("values.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, setting, input, kind, text, last] = fields[..] else { panic!("{line}") };
        let ty = type_named(name);
        let mut settings = TextSettings {
            time_zone: chrono_tz::Tz::UTC,
            interval_style: "postgres".to_owned(),
            bytea_escape: false,
            extra_float_digits: 1,
            date_style: "ISO, MDY".to_owned(),
            now: None,
        };
        match ty {
            SqlType::Interval => settings.interval_style = setting.to_owned(),
            SqlType::Bytea => settings.bytea_escape = setting == "escape",
            SqlType::Float4 | SqlType::Float8 => {
                settings.extra_float_digits = setting.parse().unwrap();
            }
            _ if !setting.is_empty() => settings.time_zone = setting.parse().unwrap(),
            _ => {}
        }
        let expected = match kind {
            "value" => Ok((unescape(text), last.to_owned())),
            _ => Err(last.to_owned()),
        };
        let found = forms(&ty, &unescape(input), &settings);
        if found != expected {
            wrong.push(format!("{name} {setting} {input:?}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
