//! The validator: ours beside the collection's own, held against every document
//! that is there, and the collection's own put back.
//!
//! The order is: (1) the rules that are there are noted; (2) ours come in, and
//! with them every later write is looked at; (3) what is there is looked at. What
//! is found in (3) is taken back, so that no document is left that the store
//! refuses to update. The server has no rule that it has not been told whole, so
//! what somebody else changes between (2) and the way back is not overwritten.

use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document as Query, doc};
use shearwater_core::Key;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::Try;

use super::super::error::{code, failure};
use super::super::inspect;
use super::super::key::ID;
use super::{Evolving, locks, made};

/// Keys that are named as standing in the way.
const KEYS_MAX: i64 = 20;

/// The options that are rules, as the server names them.
const VALIDATOR: &str = "validator";
const LEVEL: &str = "validationLevel";
const ACTION: &str = "validationAction";

/// What the server does where it was told nothing.
const STRICT: &str = "strict";
const ERROR: &str = "error";

/// The rules of a collection.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules(Query);

impl Rules {
    fn of(options: &Query) -> Rules {
        let kept = [VALIDATOR, LEVEL, ACTION].into_iter();
        Rules(kept.filter_map(|name| Some((name.to_owned(), options.get(name)?.clone()))).collect())
    }

    /// The validator; `None`: there is none, or an empty one.
    pub(super) fn validator(&self) -> Option<&Query> {
        self.0.get_document(VALIDATOR).ok().filter(|validator| !validator.is_empty())
    }

    fn word<'r>(&'r self, name: &str, otherwise: &'r str) -> &'r str {
        self.0.get_str(name).unwrap_or(otherwise)
    }

    /// Which updates it looks at.
    pub(super) fn level(&self) -> &str {
        self.word(LEVEL, STRICT)
    }

    /// What it does with a document that breaks it.
    pub(super) fn action(&self) -> &str {
        self.word(ACTION, ERROR)
    }

    /// Whether what breaks a rule is refused, and not only logged.
    pub(super) fn refuses(&self) -> bool {
        self.action() == ERROR && self.level() != "off"
    }

    /// Whether a rule is among them.
    pub(super) fn has(&self, rule: &Query) -> bool {
        let Some(validator) = self.validator() else { return false };
        let among = |parts: &Vec<Bson>| parts.iter().any(|part| part.as_document() == Some(rule));
        validator == rule || validator.get_array("$and").is_ok_and(among)
    }

    /// With a rule more; what is done with those that break one stays as it is.
    pub(super) fn with(&self, rule: &Query) -> Rules {
        match self.validator() {
            Some(own) => {
                let validator = doc! { "$and": [own.clone(), rule.clone()] };
                Rules(doc! { VALIDATOR: validator, LEVEL: self.level(), ACTION: self.action() })
            }
            None => Rules(doc! { VALIDATOR: rule.clone(), LEVEL: STRICT, ACTION: ERROR }),
        }
    }

    /// Whether the server does the same under both.
    fn same(&self, other: &Rules) -> bool {
        self.validator() == other.validator() && self.level() == other.level() && self.action() == other.action()
    }

    /// The command that sets them.
    pub(super) fn command(&self, table: &str) -> Query {
        let validator = self.validator().cloned().unwrap_or_default();
        doc! { "collMod": table, VALIDATOR: validator, LEVEL: self.level(), ACTION: self.action() }
    }
}

/// The rules as they are now.
pub(super) async fn rules(of: &Evolving) -> StoreResult<Rules> {
    let table = &of.inner.records.table;
    let found = inspect::collection(&of.inner.server, table).await?;
    found.map(|found| Rules::of(found.options())).ok_or_else(|| {
        let what = format!("MongoDB: there is no collection {table:?} any more");
        StoreError::new(StoreErrorKind::NotFound, what)
    })
}

/// The rules before ours: those that are there, or, once ours are in, those that were noted.
pub(super) async fn before(of: &Evolving) -> StoreResult<Rules> {
    let (now, rule) = (rules(of).await?, of.field.rule());
    let kept = of.own.kept_rules(&of.inner).await?.map(Rules);
    Ok(kept.filter(|kept| now.same(&kept.with(&rule))).unwrap_or(now))
}

/// Brings our rule in.
pub(super) async fn add(of: &Evolving, patience: Duration) -> StoreResult<Try> {
    let (now, rule) = (rules(of).await?, of.field.rule());
    let kept = of.own.kept_rules(&of.inner).await?.map(Rules);
    if kept.is_some_and(|kept| now.same(&kept.with(&rule))) {
        return Ok(made(Duration::ZERO));
    }
    of.own.keep_rules(&of.inner, &now.0).await?;
    set(of, &now.with(&rule), patience).await
}

/// Holds every document against our rule.
pub(super) async fn validate(of: &Evolving) -> StoreResult<Try> {
    // A write that a majority has: so it has the rule too, and all that was written before it.
    let Some(kept) = of.own.kept_rules(&of.inner).await? else {
        let what = "MongoDB: the rule is not there that documents are to be held against";
        return Err(StoreError::new(StoreErrorKind::Sidecar, what).with_hint("`rollback`, then `advance` again"));
    };
    of.own.keep_rules(&of.inner, &kept).await?;
    match breaking(of).await? {
        keys if keys.is_empty() => Ok(made(Duration::ZERO)),
        keys => Ok(Try::Violated(keys)),
    }
}

/// Some keys of documents without the field, or with one of another type.
async fn breaking(of: &Evolving) -> StoreResult<Vec<Key>> {
    let failed = |e| failure("looking for documents without the field", &e).of_a_repeatable().error;
    let server = &of.inner.server;
    let collection = server.collection(&of.inner.records.table);
    let find = collection.find(doc! { "$nor": [of.field.rule()] }).projection(doc! { ID: 1 }).limit(KEYS_MAX);
    let found = server.rows(find).await.map_err(failed)?.all().await.map_err(failed)?;
    found.into_iter().map(|raw| of.inner.records.read(raw).key).collect()
}

/// Puts the collection's own rules back.
pub(super) async fn take_back(of: &Evolving, patience: Duration) -> StoreResult<Try> {
    let Some(kept) = of.own.kept_rules(&of.inner).await?.map(Rules) else { return Ok(made(Duration::ZERO)) };
    let (now, rule) = (rules(of).await?, of.field.rule());
    let tried = if now.same(&kept.with(&rule)) {
        set(of, &kept, patience).await?
    } else if now.has(&rule) {
        let table = &of.inner.records.table;
        let what = format!("MongoDB: {table}: somebody has changed the validator since ours came in");
        return Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint(format!(
            "take this part out of it with collMod, then the same command again: {}",
            super::plan::json(&rule)
        )));
    } else {
        made(Duration::ZERO)
    };
    if matches!(tried, Try::Made { .. }) {
        of.own.forget_rules(&of.inner).await?;
    }
    Ok(tried)
}

/// Sets rules, which takes the collection for an instant: whoever uses it in a
/// transaction is waited for no longer than `patience`.
async fn set(of: &Evolving, rules: &Rules, patience: Duration) -> StoreResult<Try> {
    let mut command = rules.command(&of.inner.records.table);
    command.insert("maxTimeMS", i64::try_from(patience.as_millis().max(1)).unwrap_or(i64::MAX));
    let began = Instant::now();
    match of.inner.server.database().run_command(command).await.map_err(|e| failure("setting the validator", &e)) {
        Ok(_) => Ok(made(began.elapsed().max(Duration::from_micros(1)))),
        Err(failed) if code::IS_IN_USE.contains(&failed.code) => Ok(Try::Busy(locks::blockers(of, patience).await)),
        Err(failed) if failed.code == code::UNAUTHORIZED => {
            Err(failed.error.with_hint("collMod takes the role dbAdmin on the database; grant it to this account"))
        }
        Err(failed) => Err(failed.of_a_repeatable().error),
    }
}
