// The names of an enum's values, as run files and records spell them. An enum has beside it
//   inline EnumNames<Schedule> enum_names(Schedule) { return {{Schedule::constant, "constant"}, …}; }
#pragma once

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cohort {

template <class E>
using EnumNames = std::vector<std::pair<E, const char*>>;

template <class E>
requires std::is_enum_v<E>
const char* name_of(E value) {
  for (const auto& [known, name] : enum_names(value))
    if (known == value) return name;
  return "";
}

// Nothing when no value has this name.
template <class E>
std::optional<E> value_named(std::string_view text) {
  for (const auto& [value, name] : enum_names(E{}))
    if (text == name) return value;
  return std::nullopt;
}

}  // namespace cohort
