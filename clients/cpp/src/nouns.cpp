#include <agenterra/workflow_state/nouns.hpp>
#include <ctime>
#include <stdexcept>

namespace agenterra::workflow_state {

std::string to_string(Time time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const std::time_t seconds = whole.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char date[64];
  const std::size_t length = std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string fraction = std::to_string(1000 + (time - whole).count());
  return std::string(date, length) + "." + fraction.substr(1) + "Z";
}

std::string to_string(EventKind kind) {
  switch (kind) {
    case EventKind::committed:
      return "COMMITTED";
    case EventKind::saved:
      return "SAVED";
    case EventKind::deleted:
      return "DELETED";
    case EventKind::expired:
      return "EXPIRED";
    case EventKind::forked:
      return "FORKED";
    case EventKind::restored:
      return "RESTORED";
  }
  return "UNKNOWN";
}

const Entry& Committed::at(const std::string& key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return entry;
  }
  throw std::out_of_range("The commit did not change such a key.");
}

std::int64_t revision_of(const WatchMessage& message) {
  if (const auto* snapshot = std::get_if<Snapshot>(&message)) return snapshot->session.revision;
  if (const auto* event = std::get_if<Event>(&message)) return event->revision;
  return std::get<Progress>(message).revision;
}

}  // namespace agenterra::workflow_state
