//! The part of JSON Schema draft 7 that the generated schema uses: enough to test it without a heavy dependency.

use serde_json::Value;

pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn generated() -> Self {
        Self(serde_json::from_str(&config::generate::schema()).unwrap())
    }

    pub(crate) fn accepts(&self, value: &Value) -> bool {
        self.holds(&self.0, value)
    }

    /// `additionalProperties`: what the properties that have no schema of their own must be.
    fn holds_for_others(&self, schema: &Value, rule: &Value, value: &Value) -> bool {
        let Some(object) = value.as_object() else {
            return true;
        };
        let known = |key: &String| schema.get("properties").is_some_and(|known| known.get(key).is_some());
        object.iter().filter(|(key, _)| !known(key)).all(|(_, value)| match rule {
            Value::Bool(allowed) => *allowed,
            rule => self.holds(rule, value),
        })
    }

    fn holds(&self, schema: &Value, value: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(word, rule)| match word.as_str() {
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/definitions/").unwrap();
                self.holds(&self.0["definitions"][name], value)
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|rule| is_type(rule.as_str().unwrap(), value)),
                rule => is_type(rule.as_str().unwrap(), value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| self.holds(schema, value)),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|list| list.iter().all(|value| self.holds(rule, value))),
            "properties" => value.as_object().is_none_or(|object| {
                object.iter().all(|(key, value)| rule.get(key).is_none_or(|rule| self.holds(rule, value)))
            }),
            "additionalProperties" => self.holds_for_others(schema, rule, value),
            // The patterns of times and sizes are tested where those are read.
            "pattern" => true,
            "$schema"
            | "title"
            | "allowComments"
            | "allowTrailingCommas"
            | "definitions"
            | "default"
            | "description"
            | "markdownDescription"
            | "markdownEnumDescriptions"
            | "deprecationMessage"
            | "doNotSuggest" => true,
            other => panic!("the schema uses `{other}`, which this validator does not know"),
        })
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    }
}
