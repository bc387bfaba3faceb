use super::{number, read, write};
use crate::text::datetime;

fn time(text: &str, template: &str) -> String {
    let micros = datetime::parse_timestamp(text).unwrap();
    write::by_template(&write::Moment::local(micros), template).unwrap()
}

#[test]
fn times_are_written_as_postgres_does() {
    let t = "2024-02-09 14:05:06.789";
    for (template, expected) in [
        ("YYYY-MM-DD HH24:MI:SS.MS US", "2024-02-09 14:05:06.789 789000"),
        ("Day, DD Month YYYY HH12:MI AM", "Friday   , 09 February  2024 02:05 PM"),
        ("FMDay, FMDD FMMonth FMHH:MI pm", "Friday, 9 February 2:05 pm"),
        ("Dy DY dy D ID DDD WW IW W Q CC J", "Fri FRI fri 6 5 040 06 06 2 1 21 2460350"),
        ("DDth \"of\" RM", "09th of II  "),
        ("Y,YYY", "2,024"),
    ] {
        assert_eq!(time(t, template), expected, "{template}");
    }
}

#[test]
fn numbers_are_written_as_postgres_does() {
    for (value, template, expected) in [
        ("123.456", "999.99", " 123.46"),
        ("-5", "999", "  -5"),
        ("1234567.891", "9,999,999.99", " 1,234,567.89"),
        ("0.5", "0.99", " 0.50"),
        ("0.5", "9.99", "  .50"),
        ("0", "99.99", "   .00"),
        ("12", "RN", "            XII"),
        ("1234.5", "FM9999.00", "1234.50"),
        ("-12", "S99", "-12"),
        ("12", "99PL", " 12+"),
        ("-12", "99MI", "12-"),
        ("-12", "99PR", "<12>"),
        ("100000", "9.99EEEE", " 1.00e+05"),
        ("482", "999th", " 482nd"),
        ("12.45", "99V9", " 125"),
        ("1234", "999", " ###"),
        ("80.25", "FM999,999.00", "80.25"),
    ] {
        assert_eq!(number::by_template(value, template).unwrap(), expected, "{value} {template}");
    }
}

#[test]
fn texts_are_read_by_their_template() {
    for (text, template, expected) in [
        ("2024-02-29 12:34:56", "YYYY-MM-DD HH24:MI:SS", "2024-02-29 12:34:56"),
        ("29 Feb 2024", "DD Mon YYYY", "2024-02-29 00:00:00"),
        ("20240229", "YYYYMMDD", "2024-02-29 00:00:00"),
        ("02/29/24 1 PM", "MM/DD/YY HH AM", "2024-02-29 13:00:00"),
        ("2024 060", "YYYY DDD", "2024-02-29 00:00:00"),
        ("Thursday 29 February 2024", "Day DD Month YYYY", "2024-02-29 00:00:00"),
    ] {
        let read = read::by_template(text, template).unwrap();
        assert_eq!(read.micros, datetime::parse_timestamp(expected).unwrap(), "{text}");
    }
    assert!(read::by_template("2024-13-01", "YYYY-MM-DD").is_err());
    for (text, template, expected) in
        [("1,234.56", "9,999.99", "1234.56"), ("-12", "S99", "-12"), ("$1,234", "L9,999", "1234")]
    {
        assert_eq!(number::read(text, template).unwrap().as_deref(), Some(expected), "{text}");
    }
}
