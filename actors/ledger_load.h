// Reading a ledger back: at start (state), for a batch asked again, and the check that the folder is this
// run's.
#pragma once

#include <string>
#include <vector>

#include "actors/ledger.h"
#include "actors/sqlite.h"

namespace cohort {

// Creates the tables of a new ledger, or checks that an old one belongs to `identity`; then raises the epoch.
// Sets run_id and epoch. Throws Error naming what differs.
void open_run(Database& db, const RunIdentity& identity, LedgerState& state);
void load_state(Database& db, LedgerState& state);
std::vector<StoredGroup> load_batch(Database& db, uint32_t step);

// "section.key" of the first option that decides what the run learns and differs between two run files, with
// both values; "" when there is none. Options of speed and place (workers, threads, endpoints, total_steps …)
// may change.
std::string config_difference(const std::string& old_toml, const std::string& new_toml);

std::string versions_json(const std::vector<VersionRun>& versions);  // [[version, count], …]
std::vector<VersionRun> versions_from_json(const std::string& text);

}  // namespace cohort
