// The ledger's tables and the statements that write them. docs/ledger.md explains every column; a change here
// needs a new kSchemaVersion. Only what a statement below writes is ever written.
#pragma once

namespace cohort {

inline constexpr int kSchemaVersion = 1;

inline constexpr const char* kSchemaSql = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prompts(
  split TEXT NOT NULL, line INTEGER NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY(split, line)) WITHOUT ROWID;
CREATE TABLE groups(
  group_id INTEGER PRIMARY KEY, split TEXT NOT NULL, line INTEGER NOT NULL, draw INTEGER NOT NULL,
  eval_version INTEGER, size INTEGER NOT NULL, birth INTEGER NOT NULL, state TEXT NOT NULL,
  prompt_ids BLOB, step INTEGER, ready_order INTEGER, error TEXT, leased_at REAL, done_at REAL);
CREATE INDEX groups_by_state ON groups(state);
CREATE INDEX groups_by_step ON groups(step);
CREATE TABLE completions(
  group_id INTEGER NOT NULL, idx INTEGER NOT NULL, worker TEXT, tokens BLOB NOT NULL, logprobs BLOB NOT NULL,
  versions TEXT NOT NULL, n_tokens INTEGER NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
  seconds REAL, sampled_at REAL, reward REAL, graded_by TEXT, grade_seconds REAL, graded_at REAL,
  PRIMARY KEY(group_id, idx));
CREATE TABLE verdicts(
  group_id INTEGER NOT NULL, idx INTEGER NOT NULL, part INTEGER NOT NULL, name TEXT NOT NULL, weight REAL NOT NULL,
  kind TEXT NOT NULL, score REAL NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL, hash TEXT NOT NULL,
  PRIMARY KEY(group_id, idx, part)) WITHOUT ROWID;
CREATE TABLE infra_errors(
  group_id INTEGER NOT NULL, idx INTEGER NOT NULL, attempt INTEGER NOT NULL, worker TEXT, reason TEXT NOT NULL,
  at REAL, PRIMARY KEY(group_id, idx, attempt)) WITHOUT ROWID;
CREATE TABLE batches(
  step INTEGER PRIMARY KEY, formed_at REAL, groups INTEGER NOT NULL, samples INTEGER NOT NULL,
  tokens INTEGER NOT NULL, max_lag INTEGER NOT NULL, reward_mean REAL NOT NULL);
CREATE TABLE batch_groups(
  step INTEGER NOT NULL, position INTEGER NOT NULL, group_id INTEGER NOT NULL UNIQUE,
  PRIMARY KEY(step, position)) WITHOUT ROWID;
CREATE TABLE checkpoints(next_step INTEGER PRIMARY KEY, path TEXT NOT NULL, at REAL);
CREATE TABLE metrics(step INTEGER NOT NULL, name TEXT NOT NULL, value REAL, PRIMARY KEY(step, name)) WITHOUT ROWID;
CREATE TABLE evals(
  version INTEGER PRIMARY KEY, prompts INTEGER NOT NULL, samples INTEGER NOT NULL, failed INTEGER NOT NULL,
  pass_at_1 REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, reward_mean REAL NOT NULL,
  min_version INTEGER NOT NULL, max_version INTEGER NOT NULL, done_at REAL);
)sql";

enum class Stmt {
  put_meta,
  put_prompt,
  put_group,
  set_birth,
  set_prompt_ids,
  end_group,
  ready_group,
  put_completion,
  put_reward,
  put_verdict,
  put_infra_error,
  put_batch,
  put_batch_group,
  deliver_group,
  put_checkpoint,
  consume_steps,
  put_metric,
  put_eval,
  count_
};

// OR IGNORE / OR REPLACE make a row that is written twice harmless: a worker repeats what was not
// acknowledged.
inline constexpr const char* kStatements[] = {
    "INSERT OR REPLACE INTO meta VALUES(?,?)",
    "INSERT OR IGNORE INTO prompts VALUES(?,?,?,?)",
    "INSERT INTO groups(group_id,split,line,draw,eval_version,size,birth,state,leased_at) "
    "VALUES(?,?,?,?,?,?,?,'open',?)",
    "UPDATE groups SET birth=? WHERE group_id=?",
    "UPDATE groups SET prompt_ids=? WHERE group_id=?",
    "UPDATE groups SET state=?, error=?, done_at=? WHERE group_id=?",
    "UPDATE groups SET state='ready', ready_order=?, done_at=? WHERE group_id=?",
    "INSERT OR IGNORE INTO "
    "completions(group_id,idx,worker,tokens,logprobs,versions,n_tokens,text,finish_reason,seconds,"
    "sampled_at) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    "UPDATE completions SET reward=?, graded_by=?, grade_seconds=?, graded_at=? WHERE group_id=? AND idx=?",
    "INSERT OR REPLACE INTO verdicts VALUES(?,?,?,?,?,?,?,?,?,?)",
    "INSERT OR REPLACE INTO infra_errors VALUES(?,?,?,?,?,?)",
    "INSERT INTO batches VALUES(?,?,?,?,?,?,?)",
    "INSERT INTO batch_groups VALUES(?,?,?)",
    "UPDATE groups SET state='delivered', step=? WHERE group_id=?",
    "INSERT OR REPLACE INTO checkpoints VALUES(?,?,?)",
    "UPDATE groups SET state='consumed' WHERE step<? AND state='delivered'",
    "INSERT OR REPLACE INTO metrics VALUES(?,?,?)",
    "INSERT OR REPLACE INTO evals VALUES(?,?,?,?,?,?,?,?,?,?,?)",
};
static_assert(sizeof(kStatements) / sizeof(*kStatements) == static_cast<size_t>(Stmt::count_));

}  // namespace cohort
