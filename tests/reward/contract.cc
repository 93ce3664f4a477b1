#include "tests/reward/contract.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "transport/base/options.h"

namespace cohort {
namespace {

std::string replace(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

}  // namespace

std::vector<ContractCase> read_contract(const std::string& folder, const std::string& secret_file) {
  namespace fs = std::filesystem;
  std::vector<ContractCase> cases;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".toml") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) {
    const auto tables = TomlTable::read(file).get_tables("case").value_or(std::vector<TomlTable>{});
    for (const TomlTable& table : tables) {
      ContractCase c;
      auto text = [&](const char* key, std::string& into) { into = table.get_string(key).value_or(into); };
      text("name", c.name), text("group", c.group), text("title", c.title), text("verdict", c.verdict);
      text("stdin", c.input), text("stdout", c.output), text("test_code", c.test_code);
      text("entry_point", c.entry_point), text("record", c.record), text("limits", c.limits);
      text("options", c.options), text("reason", c.reason), text("take", c.take),
          text("fallback", c.fallback);
      c.inputs = table.get_strings("stdin_each").value_or(std::vector<std::string>{c.input});
      c.absent = table.get_strings("absent").value_or(std::vector<std::string>{});
      if (const auto one =
              c.absent.empty() && table.has("absent") ? table.get_string("absent") : std::nullopt)
        c.absent = {*one};
      c.score = table.get_double("score").value_or(c.verdict == "passed" ? 1 : 0);
      c.runs = static_cast<int>(table.get_int("runs").value_or(1));
      std::string source = table.get_string("source").value_or("");
      for (const char* end : {".c", ".cpp", ".py"})
        if (source.empty() && fs::exists(folder + "/" + c.name + end)) source = c.name + end;
      std::ifstream in(folder + "/" + source);
      if (source.empty() || !in)
        fail("{}: there is no source of \"{}\" beside it", table.where("name"), c.name);
      std::stringstream all;
      all << in.rdbuf();
      c.source = replace(replace(all.str(), "@SECRET@", secret_file), "@HOST@",
                         fs::path(secret_file).parent_path().string());
      const std::string end = fs::path(source).extension();
      c.language = table.get_string("language").value_or(end == ".py" ? "python" : end == ".c" ? "c" : "cpp");
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

nlohmann::json contract_record(const ContractCase& c, const std::string& input) {
  nlohmann::json record = {{"language", c.language}};
  if (!c.record.empty())
    record.update(nlohmann::json::parse(c.record));
  else if (!c.test_code.empty())
    record["test_code"] = c.test_code;
  else
    record["tests"] = {{{"stdin", input}, {"stdout", c.output}}};
  if (!c.entry_point.empty()) record["entry_point"] = c.entry_point;
  return record;
}

}  // namespace cohort
