//! Templates of dates and times.

/// What a template asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// AM, PM; with points?
    Meridiem(bool),
    /// AD, BC; with points?
    Era(bool),
    Century,
    Day,
    DayShort,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    IsoDayOfYear,
    IsoDayOfWeek,
    IsoWeek,
    IsoYear(u8),
    /// Fractions of a second, so many digits.
    Fraction(u8),
    Fixed,
    Hour24,
    Hour12,
    Julian,
    Minute,
    Month,
    MonthName,
    MonthShort,
    Milliseconds,
    Microseconds,
    Offset,
    Quarter,
    Roman,
    SecondOfDay,
    Second,
    ZoneHours,
    ZoneMinutes,
    Zone,
    WeekOfMonth,
    WeekOfYear,
    YearComma,
    Year(u8),
}

impl Field {
    /// Whether a number stands for it.
    pub(super) fn is_number(self) -> bool {
        !matches!(
            self,
            Field::Meridiem(_)
                | Field::Era(_)
                | Field::Day
                | Field::DayShort
                | Field::Fixed
                | Field::MonthName
                | Field::MonthShort
                | Field::Offset
                | Field::Roman
                | Field::ZoneHours
                | Field::Zone
        )
    }
}

/// How letters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    Upper,
    Capital,
    Lower,
}

/// `TH` or `th` after a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ordinal {
    Upper,
    Lower,
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Field {
        field: Field,
        letters: Letters,
        word: String,
        fill: bool,
        ordinal: Option<Ordinal>,
    },
    /// A blank or a sign, outside quotes.
    Separator(char),
    /// Any other text.
    Text(char),
}

/// Upper-case words, longer before their beginnings; `Day` and its like are recognised by their
/// own spelling.
const WORDS: &[(&str, Field)] = &[
    ("A.D.", Field::Era(true)),
    ("A.M.", Field::Meridiem(true)),
    ("AD", Field::Era(false)),
    ("AM", Field::Meridiem(false)),
    ("B.C.", Field::Era(true)),
    ("BC", Field::Era(false)),
    ("CC", Field::Century),
    ("DAY", Field::Day),
    ("DDD", Field::DayOfYear),
    ("DD", Field::DayOfMonth),
    ("DY", Field::DayShort),
    ("D", Field::DayOfWeek),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("FX", Field::Fixed),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("IDDD", Field::IsoDayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("IW", Field::IsoWeek),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("I", Field::IsoYear(1)),
    ("J", Field::Julian),
    ("MI", Field::Minute),
    ("MM", Field::Month),
    ("MONTH", Field::MonthName),
    ("MON", Field::MonthShort),
    ("MS", Field::Milliseconds),
    ("OF", Field::Offset),
    ("P.M.", Field::Meridiem(true)),
    ("PM", Field::Meridiem(false)),
    ("Q", Field::Quarter),
    ("RM", Field::Roman),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("TZH", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("TZ", Field::Zone),
    ("US", Field::Microseconds),
    ("WW", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
    ("Y,YYY", Field::YearComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
];

const CAPITALS: &[(&str, Field)] = &[
    ("Day", Field::Day),
    ("Dy", Field::DayShort),
    ("Month", Field::MonthName),
    ("Mon", Field::MonthShort),
];

fn word(text: &str) -> Option<(Field, Letters, usize)> {
    for (word, field) in CAPITALS {
        if text.starts_with(word) {
            return Some((*field, Letters::Capital, word.len()));
        }
    }
    for (word, field) in WORDS {
        if text.starts_with(word) {
            return Some((*field, Letters::Upper, word.len()));
        }
        if text.get(..word.len()).is_some_and(|t| t == word.to_lowercase()) {
            return Some((*field, Letters::Lower, word.len()));
        }
    }
    None
}

/// A sign that is neither letter nor digit.
pub(super) fn is_separator(c: char) -> bool {
    c.is_ascii_graphic() && !c.is_ascii_alphanumeric()
}

/// The parts of a template.
pub(super) fn parse(template: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        let mut fill = false;
        let mut after = rest;
        loop {
            if let Some(t) = after.strip_prefix("FM").or_else(|| after.strip_prefix("fm")) {
                fill = true;
                after = t;
            } else if let Some(t) = after.strip_prefix("TM").or_else(|| after.strip_prefix("tm")) {
                // The names are those of the locale C in any case.
                fill = true;
                after = t;
            } else {
                break;
            }
        }
        if let Some((field, letters, length)) = word(after) {
            let name = after[..length].to_owned();
            after = &after[length..];
            let mut ordinal = None;
            if let Some(t) = after.strip_prefix("TH") {
                (ordinal, after) = (Some(Ordinal::Upper), t);
            } else if let Some(t) = after.strip_prefix("th") {
                (ordinal, after) = (Some(Ordinal::Lower), t);
            }
            if let Some(t) = after.strip_prefix("SP") {
                after = t;
            }
            nodes.push(Node::Field { field, letters, word: name, fill, ordinal });
            rest = after;
            continue;
        }
        if fill {
            rest = after;
            continue;
        }
        if first == '"' {
            let mut chars = rest[1..].char_indices();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    '\\' => {
                        if let Some((_, c)) = chars.next() {
                            nodes.push(Node::Text(c));
                        }
                    }
                    c => nodes.push(Node::Text(c)),
                }
            }
            rest = &rest[end..];
            continue;
        }
        if first == '\\' && rest[1..].starts_with('"') {
            nodes.push(Node::Text('"'));
            rest = &rest[2..];
            continue;
        }
        nodes.push(if first.is_whitespace() || is_separator(first) {
            Node::Separator(first)
        } else {
            Node::Text(first)
        });
        rest = &rest[first.len_utf8()..];
    }
    nodes
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From Sunday.
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

pub(super) const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// `st`, `nd`, `rd` or `th`.
pub(super) fn ordinal(number: &str, ordinal: Ordinal) -> &'static str {
    let bytes = number.as_bytes();
    let teen = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    let at = match bytes.last() {
        Some(b'1') if !teen => 0,
        Some(b'2') if !teen => 1,
        Some(b'3') if !teen => 2,
        _ => 3,
    };
    match ordinal {
        Ordinal::Upper => ["ST", "ND", "RD", "TH"][at],
        Ordinal::Lower => ["st", "nd", "rd", "th"][at],
    }
}
