// cohort tokenize: text to token ids, or back with --decode, a JSON line each.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "launch/data/jsonl.h"
#include "rollout/tokenizer/tokenizer.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

std::vector<int32_t> ids_of(const Json& row, const std::string& where) {
  auto found = row.find("ids");
  if (found == row.end() || !found->is_array()) fail("{}: needs \"ids\", an array of token ids", where);
  std::vector<int32_t> ids;
  ids.reserve(found->size());
  for (const Json& id : *found) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX)
      fail("{}: ids: {} is no token id", where, id.dump());
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace

int command_tokenize(int argc, char** argv) {
  std::string model, input, output = "-";
  bool decode = false, add_special = false, keep_special = false;
  CLI::App app(
      "Text to token ids: {\"id\", \"text\"} becomes {\"id\", \"ids\"}; with --decode the other way.");
  app.add_option("--model", model, "the folder with tokenizer.json")->required();
  app.add_option("--input", input, "JSON lines; - is standard input")->required();
  app.add_option("--output", output, "JSON lines; - is standard output")->capture_default_str();
  app.add_flag("--decode", decode, "ids to text");
  app.add_flag("--add-special", add_special, "add what the tokenizer puts around a text (BOS …)");
  app.add_flag("--keep-special", keep_special, "with --decode: write special tokens too");
  if (auto code = parse_arguments(app, argc, argv)) return *code;

  const auto tokenizer = Tokenizer::read(model);
  std::string lines;
  read_jsonl(input, [&](const Json& row, size_t number) {
    const std::string where = fmt::format("{}:{}", input, number);
    Json out = row;
    if (decode) {
      const std::vector<int32_t> ids = ids_of(row, where);
      for (int32_t id : ids)
        if (id >= tokenizer->vocab_size())
          fail("{}: ids: {} is past the vocabulary's {} tokens", where, id, tokenizer->vocab_size());
      out.erase("ids");
      out["text"] = tokenizer->decode(ids, !keep_special);
    } else {
      auto text = row.find("text");
      if (text == row.end() || !text->is_string()) fail("{}: needs \"text\", a string", where);
      out.erase("text");
      out["ids"] = tokenizer->encode(text->get_ref<const std::string&>(), add_special);
    }
    lines += out.dump() + "\n";
  });
  if (output == "-")
    fmt::print("{}", lines);
  else
    write_text(output, lines);
  return 0;
}

}  // namespace cohort
