//! From text to a path.

use super::{Expr, Method, Path, Test};
use crate::error::{Error, Result};
use crate::functions::json::Json;

/// Parses a path.
///
/// # Errors
/// 42601
pub(super) fn parse(text: &str) -> Result<Path> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let mut strict = false;
    if parser.word("strict") {
        strict = true;
    } else {
        parser.word("lax");
    }
    let expr = parser.either()?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.error());
    }
    let expr = match expr {
        Either::Expr(expr) => expr,
        Either::Test(test) => Expr::Tested(Box::new(test)),
    };
    Ok(Path { strict, expr })
}

/// What a bracket may hold.
enum Either {
    Expr(Expr),
    Test(Test),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// Brackets within brackets.
const DEPTH_MAX: usize = 100;

impl Parser<'_> {
    fn error(&self) -> Error {
        let near: String = self.text[self.at..].chars().take(10).collect();
        let message = if near.is_empty() {
            "syntax error at end of jsonpath input".to_owned()
        } else {
            format!("syntax error at or near \"{near}\" of jsonpath input")
        };
        Error::postgres("42601", message)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.error()) }
    }

    /// Takes that word.
    fn word(&mut self, word: &str) -> bool {
        self.blanks();
        let rest = self.rest();
        let found = rest.starts_with(word)
            && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if found {
            self.at += word.len();
        }
        found
    }

    fn name(&mut self) -> Option<String> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += end;
        Some(name)
    }

    fn string(&mut self) -> Result<Option<String>> {
        self.blanks();
        let rest = self.rest();
        if !rest.starts_with('"') {
            return Ok(None);
        }
        let mut escaped = false;
        let end = rest[1..].find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { return Err(self.error()) };
        let literal = &rest[..end + 2];
        let text: String = match serde_json::from_str(literal) {
            Ok(text) => text,
            // Other escapes than those of JSON stand for themselves.
            Err(_) => rest[1..=end].replace("\\\"", "\""),
        };
        self.at += end + 2;
        Ok(Some(text))
    }

    fn number(&mut self) -> Option<Json> {
        self.blanks();
        let rest = self.rest();
        let mut end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if end == 0 {
            return None;
        }
        if let Some(fraction) = rest[end..].strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                end += 1 + digits;
            }
        }
        if let Some(exponent) = rest[end..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['-', '+']));
            let digits = exponent[sign..].bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                end += 1 + sign + digits;
            }
        }
        let number = serde_json::from_str(&rest[..end]).ok()?;
        self.at += end;
        Some(number)
    }

    fn either(&mut self) -> Result<Either> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::postgres("54001", "stack depth limit exceeded"));
        }
        let mut left = self.conjunction()?;
        while self.sign("||") {
            let right = self.conjunction()?;
            left = Either::Test(Test::Or(Box::new(self.test(left)?), Box::new(self.test(right)?)));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn test(&self, either: Either) -> Result<Test> {
        match either {
            Either::Test(test) => Ok(test),
            Either::Expr(_) => Err(self.error()),
        }
    }

    fn conjunction(&mut self) -> Result<Either> {
        let mut left = self.comparison()?;
        while self.sign("&&") {
            let right = self.comparison()?;
            left = Either::Test(Test::And(Box::new(self.test(left)?), Box::new(self.test(right)?)));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Either> {
        if self.sign("!") {
            let negated = self.primary_test()?;
            return Ok(Either::Test(Test::Not(Box::new(negated))));
        }
        if self.word("exists") {
            self.expect("(")?;
            let inner = self.either()?;
            self.expect(")")?;
            return match inner {
                Either::Expr(expr) => Ok(Either::Test(Test::Exists(expr))),
                Either::Test(_) => Err(self.error()),
            };
        }
        let left = match self.sum()? {
            Either::Expr(expr) => expr,
            Either::Test(test) => {
                if self.word("is") {
                    if !self.word("unknown") {
                        return Err(self.error());
                    }
                    return Ok(Either::Test(Test::IsUnknown(Box::new(test))));
                }
                return Ok(Either::Test(test));
            }
        };
        for (sign, op) in [
            ("==", "="),
            ("!=", "<>"),
            ("<>", "<>"),
            ("<=", "<="),
            (">=", ">="),
            ("<", "<"),
            (">", ">"),
            ("=", "="),
        ] {
            if self.sign(sign) {
                return match self.sum()? {
                    Either::Expr(right) => Ok(Either::Test(Test::Compare(left, op, right))),
                    Either::Test(_) => Err(self.error()),
                };
            }
        }
        if self.word("like_regex") {
            let pattern = self.string()?.ok_or_else(|| self.error())?;
            let flags = if self.word("flag") {
                self.string()?.ok_or_else(|| self.error())?
            } else {
                String::new()
            };
            return Ok(Either::Test(Test::LikeRegex(left, pattern, flags)));
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.error());
            }
            return match self.sum()? {
                Either::Expr(right) => Ok(Either::Test(Test::StartsWith(left, right))),
                Either::Test(_) => Err(self.error()),
            };
        }
        Ok(Either::Expr(left))
    }

    fn primary_test(&mut self) -> Result<Test> {
        if self.word("exists") {
            self.expect("(")?;
            let inner = self.either()?;
            self.expect(")")?;
            return match inner {
                Either::Expr(expr) => Ok(Test::Exists(expr)),
                Either::Test(_) => Err(self.error()),
            };
        }
        self.expect("(")?;
        let inner = self.either()?;
        self.expect(")")?;
        self.test(inner)
    }

    fn sum(&mut self) -> Result<Either> {
        let mut left = self.product()?;
        loop {
            let op = if self.sign("+") {
                '+'
            } else if self.sign("-") {
                '-'
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.arithmetic(left, op, right)?;
        }
    }

    fn arithmetic(&self, left: Either, op: char, right: Either) -> Result<Either> {
        match (left, right) {
            (Either::Expr(a), Either::Expr(b)) => {
                Ok(Either::Expr(Expr::Arithmetic(Box::new(a), op, Box::new(b))))
            }
            _ => Err(self.error()),
        }
    }

    fn product(&mut self) -> Result<Either> {
        let mut left = self.unary()?;
        loop {
            let op = if self.sign("*") {
                '*'
            } else if self.sign("/") {
                '/'
            } else if self.sign("%") {
                '%'
            } else {
                return Ok(left);
            };
            let right = self.unary()?;
            left = self.arithmetic(left, op, right)?;
        }
    }

    fn unary(&mut self) -> Result<Either> {
        for (sign, make) in
            [("-", Expr::Negative as fn(Box<Expr>) -> Expr), ("+", Expr::Positive as _)]
        {
            if self.sign(sign) {
                return match self.unary()? {
                    Either::Expr(expr) => Ok(Either::Expr(make(Box::new(expr)))),
                    Either::Test(_) => Err(self.error()),
                };
            }
        }
        self.path()
    }

    fn path(&mut self) -> Result<Either> {
        let start = if self.sign("(") {
            let inner = self.either()?;
            self.expect(")")?;
            match inner {
                Either::Expr(expr) => expr,
                test => return Ok(test),
            }
        } else if self.sign("$") {
            if let Some(name) = self.string_after_dollar()? {
                Expr::Variable(name)
            } else {
                self.name().map_or(Expr::Root, Expr::Variable)
            }
        } else if self.sign("@") {
            Expr::Current
        } else if let Some(text) = self.string()? {
            Expr::Literal(Json::String(text))
        } else if let Some(number) = self.number() {
            Expr::Literal(number)
        } else if self.word("true") {
            Expr::Literal(Json::Bool(true))
        } else if self.word("false") {
            Expr::Literal(Json::Bool(false))
        } else if self.word("null") {
            Expr::Literal(Json::Null)
        } else if self.word("last") {
            Expr::Last
        } else {
            return Err(self.error());
        };
        self.steps(start).map(Either::Expr)
    }

    fn string_after_dollar(&mut self) -> Result<Option<String>> {
        if self.rest().starts_with('"') { self.string() } else { Ok(None) }
    }

    fn steps(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            if self.sign(".") {
                expr = self.member(expr)?;
            } else if self.sign("[") {
                expr = self.subscripts(expr)?;
            } else if self.sign("?") {
                self.expect("(")?;
                let inner = self.either()?;
                let test = self.test(inner)?;
                self.expect(")")?;
                expr = Expr::Filter(Box::new(expr), Box::new(test));
            } else {
                return Ok(expr);
            }
        }
    }

    fn member(&mut self, base: Expr) -> Result<Expr> {
        let base = Box::new(base);
        if self.sign("**") {
            let (mut from, mut to) = (0, usize::MAX);
            if self.sign("{") {
                from = self.level()?;
                to = if self.word("to") { self.level()? } else { from };
                self.expect("}")?;
            }
            return Ok(Expr::Depths(base, from, to));
        }
        if self.sign("*") {
            return Ok(Expr::Members(base));
        }
        if let Some(name) = self.string()? {
            return Ok(Expr::Member(base, name));
        }
        let name = self.name().ok_or_else(|| self.error())?;
        let method = match name.as_str() {
            "type" => Method::Type,
            "size" => Method::Size,
            "double" => Method::Double,
            "ceiling" => Method::Ceiling,
            "floor" => Method::Floor,
            "abs" => Method::Abs,
            "keyvalue" => Method::KeyValue,
            "datetime" if self.rest().starts_with('(') => {
                return Err(Error::unsupported("jsonpath's datetime()"));
            }
            _ => return Ok(Expr::Member(base, name)),
        };
        if !self.sign("(") {
            return Ok(Expr::Member(base, name));
        }
        self.expect(")")?;
        Ok(Expr::Method(base, method))
    }

    fn level(&mut self) -> Result<usize> {
        if self.word("last") {
            return Ok(usize::MAX);
        }
        let number = self.number().and_then(|n| n.as_u64()).ok_or_else(|| self.error())?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }

    fn subscripts(&mut self, base: Expr) -> Result<Expr> {
        if self.sign("*") {
            self.expect("]")?;
            return Ok(Expr::Elements(Box::new(base)));
        }
        let mut ranges = Vec::new();
        loop {
            let from = self.index()?;
            let to = if self.word("to") { Some(self.index()?) } else { None };
            ranges.push((from, to));
            if self.sign("]") {
                return Ok(Expr::Subscripts(Box::new(base), ranges));
            }
            self.expect(",")?;
        }
    }

    fn index(&mut self) -> Result<Expr> {
        match self.sum()? {
            Either::Expr(expr) => Ok(expr),
            Either::Test(_) => Err(self.error()),
        }
    }
}
