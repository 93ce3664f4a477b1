// Checkpoints of a training process, in a folder DIR:
//
//   DIR/step-00000040/state.bin     one file: header and sections (parameters, moments)
//   DIR/latest                      the name of the newest whole checkpoint
//
// state.bin, all integers little endian:
//   0   8 bytes  "COHORTC1"
//   8   uint64   bytes of the header
//   16  uint64   xxh3-64 of the header
//   24  header   JSON: format, identity, next_step, updates, extra, sections [{name, offset, bytes, xxh3}]
//   …   sections, each at its offset from the start of the file, 64-byte aligned; the file ends with the last
//   one
//
// A checkpoint is published by renaming: written and synced as DIR/.part-…, renamed, the folder synced, then
// `latest` replaced in the same way. A process killed at any moment, or a full disk, leaves the checkpoint
// before it as it was. Nothing in here depends on the number of ranks. No Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cohort {

struct CheckpointHeader {
  // What must be the same to go on from it, in the order it is compared: {"run_id", …}, {"model", …}.
  std::vector<std::pair<std::string, std::string>> identity;
  uint64_t next_step = 0;  // the first step that is not in it
  int64_t updates = 0;     // optimizer updates behind it
  std::map<std::string, std::string> extra;
};

struct CheckpointSection {
  std::string name;
  std::span<std::byte> bytes;
};

// Writes and publishes DIR/step-NEXT_STEP, then removes all but the newest `keep`. Returns its path. Throws
// Error naming the file and the reason (a full disk, no permission); what was there before is still there and
// still `latest`.
std::string write_checkpoint(const std::string& dir, const CheckpointHeader& header,
                             const std::vector<CheckpointSection>& sections, int keep);

// The path of the newest checkpoint of DIR; nothing when there is none. Throws Error when `latest` names one
// that is missing.
std::optional<std::string> latest_checkpoint(const std::string& dir);

// Reads `path` into `sections` (same names and sizes). Throws Error in one line: truncated, damaged (a
// checksum differs), another identity (which key, both values), other sections than these. On an Error
// `sections` may be partly filled.
CheckpointHeader read_checkpoint(const std::string& path,
                                 const std::vector<std::pair<std::string, std::string>>& identity,
                                 const std::vector<CheckpointSection>& sections);

// Writes a small file as a whole: temporary name, sync, rename. For markers and metrics. Throws Error.
void write_file_atomically(const std::string& path, const std::string& text);

}  // namespace cohort
