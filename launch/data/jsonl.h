// Files of JSON lines and small text files, with errors that name file and line.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace cohort {

// Calls `each` with every non-empty line's object and its 1-based number. "-" is standard input; a name
// ending in .gz is unpacked. Throws Error "FILE:LINE: …" for a line that is not a JSON object, and naming a
// file that cannot be read.
void read_jsonl(const std::string& path,
                const std::function<void(const nlohmann::ordered_json&, size_t line)>& each);

// The whole file's text. Throws Error naming it.
std::string read_text(const std::string& path);

// Writes `path`.part and renames it, so that a reader never sees half a file. Throws Error naming the file
// and why.
void write_text(const std::string& path, const std::string& text);

// Makes the folder and its parents. Throws Error naming it.
void make_folder(const std::string& path);

}  // namespace cohort
