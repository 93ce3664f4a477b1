// What the tests of Link and Router send.
#pragma once

#include <string>

#include "transport/link.h"
#include "transport/messages.h"

namespace cohort::testing {

inline LinkOptions options_for(const std::string& endpoint, const std::string& name = "rollout-0") {
  LinkOptions o;
  o.endpoint = endpoint;
  o.hello = [name] {
    Hello hello;
    hello.role = Role::rollout;
    hello.name = name;
    return hello;
  };
  return o;
}

inline Completion completion(GroupId group) {
  Completion c;
  c.group = group;
  c.token_ids = {1, 2, 3};
  c.logprobs = {-1, -2, -3};
  c.versions = {{0, 3}};
  return c;
}

}  // namespace cohort::testing
