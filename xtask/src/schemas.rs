// SPDX-License-Identifier: GPL-2.0-only
//! The schemas in docs/schema/ against what is written: recorded output is valid and is read back as it was, every kind of event
//! and of outcome is described, and what is wrong is refused. Tests only.

use camino::Utf8PathBuf;
use jsonschema::Validator;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::compare::{Comparison, compare};
use crate::event::{Event, Kind, Source};
use crate::nightly;
use crate::nightly::verdict::Night;
use crate::report::model::{Results, fold};
use crate::report::tests::every_outcome;

fn docs(name: &str) -> String {
    let path = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(name);
    fs_err::read_to_string(path).unwrap()
}

fn schema(name: &str) -> Validator {
    let schema = serde_json::from_str(&docs(&format!("{name}.schema.json"))).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn check(schema: &Validator, value: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{value:#}", errors.join("\n"));
}

/// A recorded document: valid, and nothing of it is lost on the way through the type.
fn recorded<T: Serialize + DeserializeOwned>(name: &str, text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    check(&schema(name), &value);
    let read: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), value);
    value
}

#[test]
fn recorded_documents_are_valid() {
    recorded::<Results>("results", &docs("examples/results.json"));
    let comparison = recorded::<Comparison>("compare", &docs("examples/compare.json"));
    assert!(!comparison["changes"].as_array().unwrap().is_empty());
    let night = recorded::<Night>("night", &docs("examples/night.json"));
    assert!(!night["jobs"].as_array().unwrap().is_empty());
}

#[test]
fn recorded_events_are_valid() {
    let text = docs("examples/events.jsonl");
    let schema = schema("event");
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        check(&schema, &value);
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_value(event).unwrap(), value);
    }
    // Of every kind of event that the schema knows there is one among these, or in the test of the reports.
    let kinds = |value: &Value| (value["kind"].clone(), value["outcome"].clone(), value["verdict"].clone());
    let rare = [
        Kind::Splat { splat: "lockdep".into(), text: "possible deadlock".into() },
        Kind::Expired { clock: "case".into(), seconds: 30.0 },
    ];
    let rare = rare.map(|kind| Event { v: 1, t: 1.5, src: Source::Host, vm: Some(1), case: None, kind });
    let made = every_outcome().into_iter().chain(rare).map(|event| serde_json::to_value(event).unwrap());
    let made = made.inspect(|value| check(&schema, value));
    let seen: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .chain(made)
        .map(|value| kinds(&value))
        .collect();
    let document: Value = serde_json::from_str(&docs("event.schema.json")).unwrap();
    for branch in document["oneOf"].as_array().unwrap() {
        let of = |name: &str| branch["properties"][name]["const"].clone();
        let known = (of("kind"), of("outcome"), of("verdict"));
        let rare = ["skipped", "infra"].iter().any(|verdict| known.2 == *verdict);
        assert!(rare || seen.contains(&known), "nothing of {known:?} is tested");
    }
}

#[test]
fn every_outcome_is_described() {
    let events = every_outcome();
    let schema_of_events = schema("event");
    for event in &events {
        check(&schema_of_events, &serde_json::to_value(event).unwrap());
    }
    let results = fold(&events);
    check(&schema("results"), &serde_json::to_value(&results).unwrap());
    // With news, a commit, what was bisected and messages; the recorded one has none of them.
    check(&schema("night"), &serde_json::to_value(nightly::tests::night()).unwrap());
    let none = Results { v: 1, ..Results::default() };
    for (old, new) in [(&none, &results), (&results, &none), (&results, &results)] {
        let comparison = compare(("a".into(), old), ("b".into(), new));
        check(&schema("compare"), &serde_json::to_value(&comparison).unwrap());
    }
}

#[test]
fn what_is_wrong_is_refused() {
    type Damage = fn(&mut Value);
    let valid: Value = serde_json::from_str(&docs("examples/results.json")).unwrap();
    let damages: [(&str, Damage); 6] = [
        ("a newer version", |value| value["v"] = json!(2)),
        ("a field that nobody knows", |value| value["odd"] = json!(1)),
        ("an outcome that there is not", |value| value["cases"][0]["outcome"] = json!("Passed")),
        ("an axis that there is not", |value| value["cases"][0]["conditions"]["colour"] = json!("red")),
        ("a count that is none", |value| value["summary"]["passed"] = json!(-1)),
        ("no kernel", |value| drop(value.as_object_mut().unwrap().remove("kernel"))),
    ];
    for (what, damage) in damages {
        let mut value = valid.clone();
        damage(&mut value);
        assert!(!schema("results").is_valid(&value), "{what}");
    }
    let events = schema("event");
    let line: Value = serde_json::from_str(docs("examples/events.jsonl").lines().next().unwrap()).unwrap();
    assert!(events.is_valid(&line));
    for (key, wrong) in [("kind", json!("run_begun")), ("t", json!("now")), ("planned", json!([1]))] {
        let mut line = line.clone();
        line[key] = wrong;
        assert!(!events.is_valid(&line), "{key}");
    }
}
