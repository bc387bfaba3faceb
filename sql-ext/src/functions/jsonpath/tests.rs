use super::*;

fn query(document: &str, path: &str) -> String {
    let items = found(&[Value::from(document), Value::from(path)]).unwrap();
    items.iter().map(|i| jsonb(i).unwrap().text().to_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn paths_find_what_postgres_finds() {
    for (document, path, expected) in [
        (r#"{"a":[1,2,3]}"#, "$.a[*] ? (@ > 1)", "2 3"),
        (r#"{"a":[1,2,3]}"#, "$.a.size()", "3"),
        (r#"[{"x":"ab"},{"x":"cd"}]"#, r#"$[*].x ? (@ starts with "a")"#, r#""ab""#),
        (r#"{"a":{"b":1}}"#, "$.*.b", "1"),
        (r#"{"a":{"b":1}}"#, "$.**.b", "1"),
        (r#"{"x y":1}"#, r#"$."x y""#, "1"),
        ("[1,2,3,4]", "$[1 to 2]", "2 3"),
        ("[1,2,3,4]", "$[last]", "4"),
        (r#"{"a":5}"#, "$.a + 3", "8"),
        (r#"["abc","xbz"]"#, r#"$[*] ? (@ like_regex "^a")"#, r#""abc""#),
        (r#"{"a":[1,2]}"#, "$.a[*] ? (@ > 0 && @ < 2)", "1"),
        (r#"{"a":1.7}"#, "$.a.floor()", "1"),
        (r#"{"a":1}"#, "$.a == 1", "true"),
        (r#"{"a":1}"#, "$.b", ""),
    ] {
        assert_eq!(query(document, path), expected, "{path}");
    }
    let strict = [Value::from(r#"{"a":1}"#), Value::from("strict $.b")];
    assert!(found(&strict).is_err());
}
