//! `tanner schema`: the contract of `--json`, for programs.

use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::error::Error;

pub(super) fn schema(context: &Context) -> Result<Outcome, Error> {
    SCHEMA.lines().for_each(|line| context.output.result(line));
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or(Value::Null);
    Ok(Outcome { code: 0, summary: json!({ "schema": schema }) })
}

const SCHEMA: &str = include_str!("../schema.json");
