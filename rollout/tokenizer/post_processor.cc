#include "rollout/tokenizer/post_processor.h"

#include "transport/base/error.h"

namespace cohort::tokenizer {
namespace {

constexpr int64_t kMostTokens = 1 << 24;

int32_t id_of_pair(const JsonView& view) {  // ["<s>", 0]
  auto pair = view.elements();
  if (pair.size() != 2) view.fail("expected [token, id]");
  return static_cast<int32_t>(pair[1].integer(0, kMostTokens));
}

// Later processors of a sequence wrap what earlier ones made.
void add(const JsonView& view, PostProcessor& out, int depth) {
  const std::string& type = view.type();
  if (type == "ByteLevel") return;
  if (type == "Sequence") {
    if (depth > 8) view.fail("post-processors are nested too deep");
    for (const JsonView& v : view.elements("processors")) add(v, out, depth + 1);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    out.before.insert(out.before.begin(), id_of_pair(view.at("cls")));
    out.behind.push_back(id_of_pair(view.at("sep")));
  } else if (type == "TemplateProcessing") {
    std::vector<int32_t> before, behind;
    int sequences = 0;
    for (const JsonView& step : view.elements("single")) {
      if (step.has("Sequence")) {
        ++sequences;
      } else if (step.has("SpecialToken")) {
        const JsonView special = step.at("SpecialToken").at("id");
        for (const JsonView& id : view.at("special_tokens").at(special.string().c_str()).elements("ids"))
          (sequences == 0 ? before : behind).push_back(static_cast<int32_t>(id.integer(0, kMostTokens)));
      } else {
        step.fail("expected {\"Sequence\": …} or {\"SpecialToken\": …}");
      }
    }
    if (sequences != 1)
      view.at("single").fail(fmt::format("has {} sequences; exactly one is supported", sequences));
    out.before.insert(out.before.begin(), before.begin(), before.end());
    out.behind.insert(out.behind.end(), behind.begin(), behind.end());
  } else {
    view.fail(
        fmt::format("post-processor '{}' is not supported (known: Sequence, ByteLevel, TemplateProcessing, "
                    "RobertaProcessing, BertProcessing)",
                    type));
  }
}

}  // namespace

PostProcessor PostProcessor::read(const JsonView& view) {
  PostProcessor out;
  if (!view.is_null()) add(view, out, 0);
  return out;
}

}  // namespace cohort::tokenizer
