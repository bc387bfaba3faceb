//! Rows: as records, and as JSON.

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::common::Result;

use super::convert::text_of;
use super::function::{Call, Definition, P, f};
use super::json::from_value;
use super::value::Value;
use crate::text::json as form;
use crate::text::{record, to_string};

const RECORD: fn(&[SqlType]) -> SqlType = |_| SqlType::Other(OtherType::Record);

fn word(c: &Call<'_>, a: &[Value], at: usize) -> Result<Option<String>> {
    Ok(match &a[at] {
        Value::Null => None,
        // Within a row a boolean is written as a letter.
        Value::Bool(b) => Some(if *b { "t" } else { "f" }.to_owned()),
        value => Some(text_of(value, &c.types[at], c.zone)?),
    })
}

fn written(words: &[Option<String>]) -> Value {
    Value::Text(to_string(|out| record::write(out, words.iter().map(Option::as_deref))))
}

/// `{"a":1,"b":"x"}` of names and values.
fn object(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let mut out = String::from("{");
    for (i, at) in (0..a.len()).step_by(2).enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        form::string(&mut out, a[at].text())?;
        out.push(':');
        match (a.get(at + 1), c.types.get(at + 1)) {
            // A json within keeps its text.
            (Some(Value::Text(text)), Some(SqlType::Json)) => out.push_str(text),
            (Some(Value::Text(text)), Some(SqlType::Jsonb)) => out.push_str(text),
            (Some(value), Some(ty)) => out.push_str(&from_value(value, ty, c)?.to_string()),
            _ => out.push_str("null"),
        }
    }
    out.push('}');
    Ok(Value::Text(out))
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("_record", &[P::Any], RECORD, |c, a| {
        let words: Vec<_> = (0..a.len()).map(|at| word(c, a, at)).collect::<Result<_>>()?;
        Ok(written(&words))
    })
    .variadic()
    .called(),
    // Of names and values.
    f("_row", &[P::Any], RECORD, |c, a| {
        let values = (0..a.len()).skip(1).step_by(2);
        let words: Vec<_> = values.map(|at| word(c, a, at)).collect::<Result<_>>()?;
        Ok(written(&words))
    })
    .variadic()
    .called(),
    // Its first argument, under a name of its own.
    f(
        "_as_written",
        &[P::Any, P::Text],
        |types| types.first().cloned().unwrap_or(SqlType::Text),
        |_, a| Ok(a[0].clone()),
    )
    .called(),
    f("_row_json", &[P::Any], |_| SqlType::Json, object).variadic().called(),
];
