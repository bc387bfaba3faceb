//! What clients send: the messages and the parts of them, taken apart with every length checked.

use bytes::{Buf, Bytes};

use crate::error::{PgError, PgResult};

/// A message of a connected client.
#[derive(Debug)]
pub(super) enum Frontend {
    Query(String),
    Parse { name: String, sql: String, types: Vec<u32> },
    Bind(Bind),
    DescribeStatement(String),
    DescribePortal(String),
    Execute { portal: String, max_rows: i32 },
    CloseStatement(String),
    ClosePortal(String),
    Flush,
    Sync,
    Terminate,
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    FunctionCall,
    Password,
}

/// Bind: a prepared statement and values for its parameters.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) parameter_formats: Vec<i16>,
    /// `None` is NULL.
    pub(super) parameters: Vec<Option<Bytes>>,
    pub(super) result_formats: Vec<i16>,
}

impl Frontend {
    /// Takes apart the body of a message.
    ///
    /// # Errors
    /// 08P01 for a body that is not what its type says, 22021 for text that is not UTF-8.
    pub(super) fn decode(kind: u8, body: Bytes) -> PgResult<Frontend> {
        let mut r = Reader(body);
        let message = match kind {
            b'Q' => Frontend::Query(r.string()?),
            b'P' => {
                let name = r.string()?;
                let sql = r.string()?;
                let types = (0..r.count()?).map(|_| r.u32()).collect::<PgResult<_>>()?;
                Frontend::Parse { name, sql, types }
            }
            b'B' => {
                let portal = r.string()?;
                let statement = r.string()?;
                let parameter_formats =
                    (0..r.count()?).map(|_| r.i16()).collect::<PgResult<_>>()?;
                let parameters = (0..r.count()?).map(|_| r.value()).collect::<PgResult<_>>()?;
                let result_formats = (0..r.count()?).map(|_| r.i16()).collect::<PgResult<_>>()?;
                Frontend::Bind(Bind {
                    portal,
                    statement,
                    parameter_formats,
                    parameters,
                    result_formats,
                })
            }
            b'D' => match (r.u8()?, r.string()?) {
                (b'S', name) => Frontend::DescribeStatement(name),
                (b'P', name) => Frontend::DescribePortal(name),
                (other, _) => return Err(subtype("DESCRIBE", other)),
            },
            b'C' => match (r.u8()?, r.string()?) {
                (b'S', name) => Frontend::CloseStatement(name),
                (b'P', name) => Frontend::ClosePortal(name),
                (other, _) => return Err(subtype("CLOSE", other)),
            },
            b'E' => Frontend::Execute { portal: r.string()?, max_rows: r.i32()? },
            b'H' => Frontend::Flush,
            b'S' => Frontend::Sync,
            b'X' => Frontend::Terminate,
            b'd' => return Ok(Frontend::CopyData(r.0)),
            b'c' => Frontend::CopyDone,
            b'f' => Frontend::CopyFail(r.string()?),
            b'F' => return Ok(Frontend::FunctionCall),
            b'p' => return Ok(Frontend::Password),
            other => {
                return Err(PgError::fatal(
                    "08P01",
                    format!("invalid frontend message type {other}"),
                ));
            }
        };
        if r.0.has_remaining() {
            return Err(PgError::new("08P01", "invalid message format"));
        }
        Ok(message)
    }
}

fn subtype(message: &str, kind: u8) -> PgError {
    PgError::new("08P01", format!("invalid {message} message subtype {kind}"))
}

fn short() -> PgError {
    PgError::new("08P01", "insufficient data left in message")
}

/// Reads a message's parts in order.
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    pub(super) fn u8(&mut self) -> PgResult<u8> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(super) fn i16(&mut self) -> PgResult<i16> {
        self.need(2)?;
        Ok(self.0.get_i16())
    }

    pub(super) fn i32(&mut self) -> PgResult<i32> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    pub(super) fn u32(&mut self) -> PgResult<u32> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    /// A count in two bytes; a client may have as many as 65535 parameters.
    fn count(&mut self) -> PgResult<u16> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    /// A string that ends with a zero byte.
    pub(super) fn string(&mut self) -> PgResult<String> {
        let Some(end) = self.0.iter().position(|b| *b == 0) else {
            return Err(PgError::new("08P01", "invalid string in message"));
        };
        let text = self.0.split_to(end);
        self.0.advance(1);
        utf8(&text).map(str::to_owned)
    }

    fn value(&mut self) -> PgResult<Option<Bytes>> {
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| short())?;
        self.need(length)?;
        Ok(Some(self.0.split_to(length)))
    }

    fn need(&self, bytes: usize) -> PgResult<()> {
        if self.0.remaining() < bytes { Err(short()) } else { Ok(()) }
    }
}

/// The text of these bytes.
///
/// # Errors
/// 22021 where they are not UTF-8 or hold a zero byte.
pub(super) fn utf8(bytes: &[u8]) -> PgResult<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => Ok(text),
        Ok(_) => Err(PgError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")),
        Err(error) => {
            let at = error.valid_up_to();
            // As much as the first bad byte announces is shown, as PostgreSQL does.
            let length = match bytes[at] {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                _ => 1,
            };
            let shown: Vec<String> =
                bytes[at..].iter().take(length).map(|b| format!("0x{b:02x}")).collect();
            Err(PgError::new(
                "22021",
                format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_bind_is_a_protocol_violation() {
        for cut in 0..b"\0s\0\0\0\0\x01\0\0\0\x02ab\0\0".len() {
            let body = Bytes::from_static(&b"\0s\0\0\0\0\x01\0\0\0\x02ab\0\0"[..cut]);
            assert_eq!(Frontend::decode(b'B', body).unwrap_err().code, "08P01", "cut at {cut}");
        }
        let whole = Bytes::from_static(b"\0s\0\0\0\0\x01\0\0\0\x02ab\0\0");
        assert!(Frontend::decode(b'B', whole).is_ok());
    }

    #[test]
    fn a_query_that_is_not_utf8_is_refused() {
        let error = Frontend::decode(b'Q', Bytes::from_static(b"select '\xe9x'\0")).unwrap_err();
        assert_eq!(error.code, "22021");
        assert_eq!(error.message, "invalid byte sequence for encoding \"UTF8\": 0xe9 0x78 0x27");
    }
}
