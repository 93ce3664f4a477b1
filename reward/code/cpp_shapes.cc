#include "reward/code/cpp_shapes.h"

#include <fmt/core.h>

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

// A method's first parameter is what it is called on.
bool has_its_object(const CppItem& item, const CppShape& shape) {
  const bool method = item.kind == CppItem::method || item.kind == CppItem::conversion;
  return !method || item.f->is_static || !shape.parameters.empty();
}

}  // namespace

CppShapes::CppShapes(CppItems& items, std::string_view binary) : items_(items) {
  for (size_t i = 0; i < items.all.size(); ++i) {
    if (items.all[i].gone) continue;
    const std::string mark = fmt::format("{}::shape() [with int N = {}; F = ", items.ours, i);
    const size_t at = binary.find(mark);
    if (at == binary.npos) continue;
    const std::string_view rest = binary.substr(at + mark.size(), 16000);
    const std::string text = replaced(std::string(rest.substr(0, rest.find('\0'))), "{anonymous}::", "");
    if (auto shape = read_shape(text); shape && has_its_object(items.all[i], *shape))
      shapes_[i] = std::move(*shape);
  }
  any_ = !shapes_.empty();
  for (auto& [i, shape] : shapes_)
    for (std::string& value : shape.values) {
      const bool number = !value.empty() && value.find_first_not_of("-0123456789") == value.npos;
      if (!number && value != "true" && value != "false") value = "false";
    }
  drop_what_is_not_plain();
}

const CppShape* CppShapes::of(size_t i) const {
  const auto found = shapes_.find(i);
  return found == shapes_.end() ? nullptr : &found->second;
}

bool CppShapes::is_own(std::string_view word) const {
  for (const auto& [i, shape] : shapes_) {
    const CppItem& item = items_.all[i];
    if (item.kind != CppItem::fields && item.kind != CppItem::enumeration) continue;
    if (item.name == word || mentions(item.scope, word)) return true;
  }
  return false;
}

bool CppShapes::plain(std::string_view type) const {
  for (const Token& token : tokens_of(type)) {
    const std::string_view text = code::of(type, token);
    if (token.kind == Token::skipped) continue;
    if (token.kind == Token::other ? std::string_view("<>,:&*()[]").find(text) == std::string_view::npos
                                   : token.kind != Token::word || (!is_plain_word(text) && !is_own(text)))
      return false;
  }
  return !trim(type).empty();
}

bool CppShapes::plain_parameters(const CppShape& shape) const {
  return std::all_of(shape.parameters.begin(), shape.parameters.end(),
                     [&](const std::string& type) { return plain(type); });
}

// Whether a class or enumeration can be written down; the others are looked at where they are.
bool CppShapes::fits(size_t i, const CppShape& shape) const {
  const CppItem& item = items_.all[i];
  if (item.kind == CppItem::enumeration) return shape.parameters.size() == 1 && plain_parameters(shape);
  if (item.kind != CppItem::fields || !is_value(shape)) return true;
  return plain_parameters(shape) && shape.parameters.size() == items_.class_of(item).fields.size();
}

// One that goes may have been what another was made of.
void CppShapes::drop_what_is_not_plain() {
  for (;;) {
    const auto at = std::find_if(shapes_.begin(), shapes_.end(),
                                 [&](const auto& one) { return !fits(one.first, one.second); });
    if (at == shapes_.end()) return;
    const CppItem& item = items_.all[at->first];
    items_.leave_out(item.name + " has fields of types that another process cannot have");
    shapes_.erase(at);
    if (item.kind == CppItem::fields)  // all of its class
      std::erase_if(shapes_,
                    [&](const auto& one) { return items_.all[one.first].of_class == item.of_class; });
  }
}

}  // namespace cohort::code
