#include "launch/train/observer.h"

#include <unistd.h>

namespace cohort {

std::unique_ptr<Link> make_observer(const std::string& endpoint, const std::string& who) {
  LinkOptions options;
  options.endpoint = endpoint;
  options.hello = [name = who + "-" + std::to_string(getpid())] {
    Hello hello;
    hello.role = Role::observer;
    hello.name = name;
    hello.pid = static_cast<uint32_t>(getpid());
    return hello;
  };
  options.heartbeat = [] { return Heartbeat{}; };
  return std::make_unique<Link>(std::move(options));
}

}  // namespace cohort
