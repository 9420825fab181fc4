#include "behave.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace interop {
namespace {

using namespace agenterra::workflow_state;

/// What a step does not do as it says.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A watch that says nothing ends after this, unless the step says otherwise.
constexpr std::int64_t longest_watch_ms = 60'000;

/// Does something when so much time has gone, unless it is destroyed before.
class Alarm {
 public:
  Alarm(Span span, std::function<void()> ring)
      : thread_([this, span, ring = std::move(ring)] {
          std::unique_lock<std::mutex> lock(mutex_);
          if (!stopped_.wait_for(lock, span, [this] { return stop_; })) ring();
        }) {}
  ~Alarm() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    stopped_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

template <class T>
std::optional<T> given(const Value& step, const char* name) {
  const auto found = step.find(name);
  return found == step.end() ? std::nullopt : std::make_optional<T>(found->get<T>());
}

std::optional<Span> span(const Value& step, const char* name) {
  const auto found = given<std::int64_t>(step, name);
  return found ? std::make_optional<Span>(*found) : std::nullopt;
}

Value event_as_said(const Event& event) {
  Value keys = Value::array();
  for (const Entry& entry : event.entries) keys.push_back(entry.key);
  return {{"revision", event.revision}, {"kind", to_string(event.kind)}, {"keys", keys}};
}

/// A step against one client: gives what `expect` can look at.
class Step {
 public:
  Step(Client& client, const std::string& sessions, const Value& step)
      : client_(client), sessions_(sessions), step_(step), session_(named("session")) {}

  Value run() {
    static const std::map<std::string, Value (Step::*)()> all{
        {"set", &Step::set},
        {"get", &Step::get},
        {"delete", &Step::erase},
        {"commit", &Step::commit},
        {"get_session", &Step::get_session},
        {"save_session", &Step::save_session},
        {"delete_session", &Step::delete_session},
        {"fork", &Step::fork},
        {"update", &Step::update},
        {"events", &Step::events},
        {"watch", &Step::watch},
        {"sleep", &Step::sleep},
    };
    const auto found = all.find(step_.at("do"));
    if (found == all.end()) throw Fault("is of a kind that this program does not know");
    return (this->*found->second)();
  }

 private:
  std::string named(const char* name) const { return sessions_ + step_.value(name, ""); }
  std::string key() const { return step_.at("key"); }
  std::optional<std::int64_t> revision(const char* name) const { return given<std::int64_t>(step_, name); }
  std::string request_id() const { return step_.value("request_id", ""); }

  Value set() {
    const Entry entry = client_.set_state(
        session_, key(), step_.at("value"),
        {.if_revision = revision("if_revision"), .ttl = span(step_, "ttl_ms"), .request_id = request_id()});
    return {{"revision", entry.revision}};
  }

  Value get() {
    const ReadOptions options{.at_revision = revision("at_revision"), .timeout = span(step_, "timeout_ms")};
    const std::optional<Entry> entry = client_.get_entry(session_, key(), options);
    if (!entry) return {{"missing", true}};
    return {{"value", entry->value}, {"revision", entry->revision}};
  }

  Value erase() {
    const Deletion deletion = client_.delete_state(
        session_, key(), {.if_revision = revision("if_revision"), .request_id = request_id()});
    return {{"deleted", deletion.deleted}, {"revision", deletion.revision}};
  }

  Value commit() {
    Commit commit(session_);
    for (const Value& check : step_.value("checks", Value::array())) {
      commit.check(check.at("key"), check.at("if_revision"));
    }
    for (const Value& change : step_.value("changes", Value::array())) {
      const std::string kind = change.begin().key();
      const Value& said = change.begin().value();
      const std::string key = said.at("key");
      if (kind == "set") {
        commit.set(key, said.at("value"));
      } else if (kind == "delete") {
        commit.erase(key);
      } else if (kind == "increment") {
        commit.increment(key, said.at("delta"));
      } else if (kind == "append") {
        commit.append(key, said.at("values"), said.value("max_items", 0));
      } else if (kind == "merge") {
        commit.merge(key, said.at("value"));
      } else {
        throw Fault("has a change of a kind that this program does not know");
      }
    }
    commit.if_revision = revision("if_revision");
    commit.request_id = request_id();
    commit.labels = given<Labels>(step_, "labels");
    commit.workflow_id = given<std::string>(step_, "workflow_id");
    const Committed committed = client_.commit(commit);
    Value entries = Value::array();
    for (const Entry& entry : committed.entries) {
      Value said{{"key", entry.key}};
      if (!entry.deleted) said["value"] = entry.value;
      entries.push_back(std::move(said));
    }
    return {{"revision", committed.revision}, {"entries", entries}};
  }

  Value get_session() {
    const std::optional<Session> session = client_.get_session(
        session_, {.key_prefix = step_.value("key_prefix", ""), .at_revision = revision("at_revision")});
    if (!session) return {{"missing", true}};
    Value said{{"state", session->state}, {"revision", session->revision}, {"labels", session->labels}};
    if (session->workflow_id) said["workflow_id"] = *session->workflow_id;
    return said;
  }

  Value save_session() {
    const Session session = client_.save_session(
        session_, step_.at("state").get<State>(),
        {.labels = step_.value("labels", Labels{}), .if_revision = revision("if_revision")});
    return {{"revision", session.revision}};
  }

  Value delete_session() { return {{"deleted", client_.delete_session(session_)}}; }

  Value fork() {
    const Session session =
        client_.fork_session(session_, named("new_session"), {.at_revision = revision("at_revision")});
    return {{"revision", session.revision}, {"state", session.state}};
  }

  Value update() {
    const std::string key = step_.at("increment");
    std::mutex mutex;
    std::exception_ptr failure;
    std::vector<std::thread> threads;
    for (int left = step_.value("times", 1); left > 0; --left) {
      threads.emplace_back([&] {
        try {
          client_.update(session_, [&](Draft& draft) { draft[key] = draft.value(key, 0).get<double>() + 1; });
        } catch (...) {
          const std::lock_guard<std::mutex> lock(mutex);
          failure = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (failure) std::rethrow_exception(failure);
    return Value::object();
  }

  Value events() {
    Value events = Value::array();
    auto listing = client_.list_events(
        session_, {.after_revision = step_.value("after_revision", std::int64_t{0}), .page_size = 2});
    for (const Event& event : listing) events.push_back(event_as_said(event));
    return {{"events", events}};
  }

  Value watch() {
    const std::size_t count = step_.at("count");
    const bool reconnect = step_.value("reconnect", false);
    const Span longest(step_.value("within_ms", longest_watch_ms));
    std::optional<std::int64_t> after = revision("after_revision");
    Value messages = Value::array();
    while (messages.size() < count) {
      SessionWatch watch = client_.watch_session(session_, {.after_revision = after});
      const Alarm alarm(longest, [&] { watch.close(); });
      while (messages.size() < count) {
        const std::optional<WatchMessage> message = watch.next();
        if (!message) throw Fault("waits in vain: the watch gave " + shown(messages));
        after = revision_of(*message);
        if (const auto* snapshot = std::get_if<Snapshot>(&*message)) {
          const Session& session = snapshot->session;
          messages.push_back({{"snapshot", {{"revision", session.revision}, {"state", session.state}}}});
        } else if (const auto* event = std::get_if<Event>(&*message)) {
          messages.push_back({{"event", event_as_said(*event)}});
        } else {
          continue;
        }
        if (reconnect) break;
      }
    }
    return {{"messages", messages}};
  }

  Value sleep() {
    std::this_thread::sleep_for(Span(step_.at("ms").get<std::int64_t>()));
    return Value::object();
  }

  Client& client_;
  const std::string& sessions_;
  const Value& step_;
  const std::string session_;
};

/// A failure as the field `error` of a step says it.
Value as_said(const WorkflowStateError& error) {
  Value checks = Value::array();
  for (const FailedCheck& check : error.failed_checks()) {
    checks.push_back(
        {{"key", check.key}, {"if_revision", check.if_revision}, {"actual_revision", check.actual_revision}});
  }
  std::sort(checks.begin(), checks.end());
  const auto path = error.metadata().find("path");
  return {{"reason", to_string(error.reason())},
          {"code", to_string(error.code())},
          {"failed_checks", checks},
          {"path", path == error.metadata().end() ? Value() : Value(path->second)}};
}

/// Throws unless what was said of something is so.
void compare(const Value& said, const Value& is) {
  for (const auto& [name, expected] : said.items()) {
    const Value got = is.value(name, Value());
    const bool there = is.contains(name);
    // A stored null is there, and a missing value is not.
    if (!there || !same(got, expected)) {
      throw Fault(name + " is " + (there ? shown(got) : "missing") + " in place of " + shown(expected));
    }
  }
}

void run_step(Client& client, const std::string& sessions, const Value& step) {
  const auto began = std::chrono::steady_clock::now();
  if (step.contains("error")) {
    Value expected = step.at("error");
    if (expected.contains("failed_checks")) {
      std::sort(expected["failed_checks"].begin(), expected["failed_checks"].end());
    }
    std::optional<Value> failure;
    try {
      Step(client, sessions, step).run();
    } catch (const WorkflowStateError& error) {
      failure = as_said(error);
    }
    if (!failure) throw Fault("succeeds in place of failing with " + shown(expected));
    compare(expected, *failure);
  } else {
    compare(step.value("expect", Value::object()), Step(client, sessions, step).run());
  }
  const auto took = std::chrono::steady_clock::now() - began;
  if (const auto within = span(step, "within_ms"); within && took > *within) {
    const auto ms = std::chrono::duration_cast<Span>(took).count();
    throw Fault("takes " + std::to_string(ms) + " ms");
  }
}

}  // namespace

void behave(const std::string& url, const std::string& prefix, const Value& file) {
  std::map<std::string, Client> clients;
  for (const auto& [name, said] : file.at("clients").items()) {
    clients.try_emplace(name, said.value("url", url), ClientOptions{.token = said.value("token", "")});
  }
  clients.try_emplace("default", url);
  std::size_t number = 0;
  for (const Value& one : file.at("cases")) {
    const std::string sessions = prefix + "-" + std::to_string(number++) + "-";
    std::optional<std::string> fault;
    std::size_t index = 0;
    try {
      for (const Value& step : one.at("steps")) {
        run_step(clients.at(step.value("client", "default")), sessions, step);
        ++index;
      }
    } catch (const std::exception& error) {
      fault = "step " + std::to_string(index) + " " + error.what();
    }
    print(one.at("name"), fault);
  }
}

}  // namespace interop
