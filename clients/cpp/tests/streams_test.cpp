#include <thread>

#include "support/proxy.hpp"
#include "support/raw.hpp"

namespace tests {
namespace {

/// The next message of a watch that is not progress.
WatchMessage next_of(SessionWatch& watch) {
  while (true) {
    WatchMessage message = watch.next().value();
    if (!std::holds_alternative<Progress>(message)) return message;
  }
}

TEST(SessionWatch, GivesASnapshotAndThenEveryCommit) {
  Client client(shared_url());
  const std::string session = new_session();
  client.set_state(session, "a", 1);
  SessionWatch watch = client.watch_session(session);
  const auto snapshot = std::get<Snapshot>(next_of(watch));
  EXPECT_EQ(snapshot.session.revision, 1);
  EXPECT_EQ(snapshot.session.state, (State{{"a", 1}}));
  client.delete_state(session, "a");
  client.delete_session(session);
  const auto deleted = std::get<Event>(next_of(watch));
  EXPECT_EQ(deleted.revision, 2);
  EXPECT_TRUE(deleted.entries.at(0).deleted);
  EXPECT_EQ(std::get<Event>(next_of(watch)).kind, EventKind::deleted);
  // It outlives the deletion.
  client.set_state(session, "b", 2);
  EXPECT_EQ(std::get<Event>(next_of(watch)).entries.at(0).key, "b");
}

TEST(SessionWatch, GoesOnAfterARevisionAndSeesAPrefixOnly) {
  Client client(shared_url());
  const std::string session = new_session();
  for (const char* key : {"a/1", "b/1", "a/2"}) client.set_state(session, key, 1);
  SessionWatch watch = client.watch_session(session, {.after_revision = 1, .key_prefix = "a/"});
  EXPECT_EQ(std::get<Event>(next_of(watch)).revision, 3);
}

TEST(SessionWatch, FindsItsWayBackWithoutAGapAndNothingTwice) {
  Service service;
  Proxy proxy(service.port());
  Client writer(service.url());
  Client client(proxy.url(), {.retry = {.base = 5ms}});
  const std::string session = new_session();
  SessionWatch watch = client.watch_session(session, {.after_revision = 0});
  std::int64_t written = 0;
  for (int round = 0; round < 4; ++round) {
    for (int number = 0; number < 3; ++number) written = writer.set_state(session, "n", number).revision;
    for (std::int64_t revision = written - 2; revision <= written; ++revision) {
      EXPECT_EQ(revision_of(next_of(watch)), revision);
    }
    proxy.cut();
  }
  EXPECT_GE(proxy.connections, 4);
}

TEST(SessionWatch, ThatHearsNothingConnectsAnew) {
  Raw raw;
  std::vector<std::optional<std::int64_t>> asked;
  std::mutex mutex;
  raw.watch = [&](const auto& request, auto& writer, auto& context) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      asked.push_back(request.has_after_revision() ? std::make_optional(request.after_revision())
                                                   : std::nullopt);
    }
    v1::WatchSessionResponse message;
    message.mutable_progress()->set_revision(request.after_revision() + 7);
    writer.Write(message);
    while (!context.IsCancelled()) std::this_thread::sleep_for(5ms);
    return grpc::Status::OK;
  };
  Client client(raw.url(), {.retry = {.base = 1ms}, .silence = 1s});
  SessionWatch watch = client.watch_session("s");
  EXPECT_EQ(revision_of(watch.next().value()), 7);
  EXPECT_EQ(revision_of(watch.next().value()), 14);
  const std::lock_guard<std::mutex> lock(mutex);
  EXPECT_EQ(asked.at(0), std::nullopt);
  EXPECT_EQ(asked.at(1), std::make_optional<std::int64_t>(7));
}

TEST(SessionWatch, PassesOverWhatItDoesNotKnow) {
  Raw raw;
  raw.watch = [](const auto&, auto& writer, auto&) {
    writer.Write(v1::WatchSessionResponse());
    v1::WatchSessionResponse message;
    message.mutable_event()->set_revision(1);
    message.mutable_event()->set_kind(static_cast<v1::EventKind>(99));
    writer.Write(message);
    return grpc::Status::OK;
  };
  Client client(raw.url());
  SessionWatch watch = client.watch_session("s");
  const auto event = std::get<Event>(watch.next().value());
  EXPECT_EQ(static_cast<int>(event.kind), 99);
  EXPECT_EQ(to_string(event.kind), "UNKNOWN");
}

TEST(SessionWatch, ThatIsRefusedFailsAndIsOver) {
  Client client(shared_url());
  const std::string session = new_session();
  client.set_state(session, "n", 1);
  SessionWatch watch = client.watch_session(session, {.after_revision = 5});
  EXPECT_EQ(failure_of([&] { watch.next(); }).reason(), Reason::future_revision);
  EXPECT_FALSE(watch.next());
}

TEST(SessionWatch, EndsWhenItIsClosedAlsoWhileSomeoneWaits) {
  Client client(shared_url());
  SessionWatch watch = client.watch_session(new_session());
  EXPECT_TRUE(watch.next());
  std::thread closer([&] {
    std::this_thread::sleep_for(100ms);
    watch.close();
  });
  int left = 0;
  for (const WatchMessage& message : watch) left += std::holds_alternative<Progress>(message) ? 0 : 1;
  closer.join();
  EXPECT_EQ(left, 0);
}

TEST(SessionWatch, OfAClientThatIsClosedSaysSo) {
  Client client(shared_url());
  SessionWatch watch = client.watch_session(new_session());
  EXPECT_TRUE(watch.next());
  std::thread closer([&] {
    std::this_thread::sleep_for(100ms);
    client.close();
  });
  EXPECT_EQ(failure_of([&] {
              while (watch.next()) continue;
            }).reason(),
            Reason::shutting_down);
  closer.join();
}

TEST(SessionWatch, IsLetGoOfAtAnyTime) {
  Client client(shared_url());
  { const SessionWatch never_read = client.watch_session(new_session()); }
  SessionWatch read = client.watch_session(new_session());
  EXPECT_TRUE(read.next());
  // Another takes its place.
  read = client.watch_session(new_session());
  EXPECT_TRUE(read.next());
}

TEST(SessionsWatch, SeesWhatHappensToAllThatMatch) {
  Client client(shared_url());
  const std::string prefix = new_session() + "-of-";
  SessionsWatch watch = client.watch_sessions({.session_id_prefix = prefix});
  client.set_state("another", "n", 1);
  client.set_state(prefix + "a", "n", 1);
  client.delete_session(prefix + "a");
  const SessionChange first = watch.next().value();
  EXPECT_EQ(first.session.session_id, prefix + "a");
  EXPECT_TRUE(first.session.state.empty());
  EXPECT_EQ(first.kind, EventKind::committed);
  EXPECT_EQ(watch.next().value().kind, EventKind::deleted);
  std::thread closer([&] { watch.close(); });
  EXPECT_FALSE(watch.next());
  closer.join();
}

TEST(SessionsWatch, EndsWithItsConnection) {
  Service service;
  Proxy proxy(service.port());
  Client client(proxy.url());
  client.set_state("s", "n", 1);
  SessionsWatch watch = client.watch_sessions();
  client.set_state("s", "n", 2);
  EXPECT_TRUE(watch.next());
  proxy.cut();
  EXPECT_EQ(failure_of([&] { watch.next(); }).reason(), Reason::store_unavailable);
  EXPECT_FALSE(watch.next());
}

TEST(Pipeline, AnswersInOrder) {
  Client client(shared_url());
  const std::string session = new_session();
  Pipeline pipeline = client.pipeline();
  for (int number = 0; number < 50; ++number) {
    pipeline.send({Commit(session).increment("n"), GetState{session, "none"}});
  }
  pipeline.finish();
  EXPECT_EQ(failure_of([&] { pipeline.send({GetState{session, "n"}}); }).reason(), Reason::invalid_request);
  int count = 0;
  while (const auto results = pipeline.receive()) {
    EXPECT_EQ(std::get<Committed>(results->at(0)).at("n").value, ++count);
    EXPECT_TRUE(std::holds_alternative<std::monostate>(results->at(1)));
  }
  EXPECT_EQ(count, 50);
  EXPECT_FALSE(pipeline.receive());
}

TEST(Pipeline, TakesBatchesWhileItAnswers) {
  Client client(shared_url());
  const std::string session = new_session();
  Pipeline pipeline = client.pipeline();
  for (int number = 1; number <= 5; ++number) {
    pipeline.send({Commit(session).increment("n")});
    EXPECT_EQ(std::get<Committed>(pipeline.receive().value().at(0)).at("n").value, number);
  }
}

TEST(Pipeline, TakesMoreThanFitsOnTheWay) {
  Client client(shared_url());
  const std::string session = new_session();
  client.set_state(session, "large", std::string(1'000'000, 'x'));
  Pipeline pipeline = client.pipeline();
  for (int number = 0; number < 40; ++number) {
    pipeline.send({GetState{session, "large"}, SetState{session, "n", std::string(500'000, 'y')}});
  }
  pipeline.finish();
  int count = 0;
  while (const auto results = pipeline.receive()) count += static_cast<int>(results->size());
  EXPECT_EQ(count, 80);
}

TEST(Pipeline, SendsAgainWhatIsNotAnswered) {
  Service service;
  Proxy proxy(service.port());
  Client client(proxy.url(), {.retry = {.base = 5ms}});
  const std::string session = new_session();
  client.set_state(session, "warm", 1);
  Pipeline pipeline = client.pipeline();
  for (int round = 1; round <= 3; ++round) {
    for (int number = 0; number < 10; ++number) pipeline.send({Commit(session).increment("n")});
    EXPECT_EQ(std::get<Committed>(pipeline.receive().value().at(0)).at("n").value, round * 10 - 9);
    proxy.cut();
    for (int number = 1; number < 10; ++number) {
      EXPECT_EQ(std::get<Committed>(pipeline.receive().value().at(0)).at("n").value, round * 10 - 9 + number);
    }
  }
  EXPECT_EQ(client.get_state(session, "n"), Value(30));
}

TEST(Pipeline, SendsAgainUnderTheSameRequestIds) {
  Raw raw;
  Client client(raw.url(), {.retry = {.base = 1ms}});
  raw.fail({grpc::Status(grpc::StatusCode::UNAVAILABLE, "")});
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  EXPECT_EQ(std::get<Entry>(pipeline.receive().value().at(0)).key, "a");
  const auto ids = raw.request_ids();
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(ids[0], ids[1]);
}

TEST(Pipeline, GivesUpAfterConnectionsThatAnswerNothing) {
  Raw raw;
  Client client(raw.url(), {.retry = {.attempts = 3, .base = 1ms}});
  raw.fail(std::vector<grpc::Status>(9, grpc::Status(grpc::StatusCode::UNAVAILABLE, "")));
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  EXPECT_EQ(failure_of([&] { pipeline.receive(); }).reason(), Reason::outcome_unknown);
  EXPECT_EQ(raw.request_ids().size(), 3u);
  EXPECT_FALSE(pipeline.receive());
}

TEST(Pipeline, ThatIsRefusedFails) {
  Raw raw;
  Client client(raw.url());
  raw.fail({grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no")});
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  EXPECT_EQ(failure_of([&] { pipeline.receive(); }).reason(), Reason::permission_denied);
}

TEST(Pipeline, ThatIsRefusedAfterAConnectionTookItsWritesSaysThatTheyMayBeDone) {
  Raw raw;
  Client client(raw.url(), {.retry = {.base = 1ms}});
  const grpc::Status lost(grpc::StatusCode::UNAVAILABLE, "");
  const auto outcome = [&](const Operation& operation, const grpc::Status& last) {
    raw.fail({lost, last});
    Pipeline pipeline = client.pipeline();
    pipeline.send({operation});
    return failure_of([&] { pipeline.receive(); }).reason();
  };
  v1::ErrorDetail limited;
  limited.set_reason(v1::ERROR_REASON_RATE_LIMITED);
  const SetState write{"s", "a", 1};
  // Decided before the request ids are looked at.
  for (const grpc::Status& last : {grpc::Status(grpc::StatusCode::UNAUTHENTICATED, ""),
                                   grpc::Status(grpc::StatusCode::PERMISSION_DENIED, ""),
                                   status_with(grpc::StatusCode::RESOURCE_EXHAUSTED, limited)}) {
    EXPECT_EQ(outcome(write, last), Reason::outcome_unknown) << last.error_code();
  }
  EXPECT_EQ(outcome(write, grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "")), Reason::invalid_request);
  EXPECT_EQ(outcome(GetState{"s", "a"}, grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "")),
            Reason::permission_denied);
}

TEST(Pipeline, ThatIsRefusedSaysNothingOfWritesThatWereAnswered) {
  Raw raw;
  Client client(raw.url(), {.retry = {.base = 1ms}});
  raw.fail({grpc::Status(grpc::StatusCode::UNAVAILABLE, ""), grpc::Status::OK,
            grpc::Status(grpc::StatusCode::UNAVAILABLE, ""),
            grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "")});
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  EXPECT_EQ(std::get<Entry>(pipeline.receive().value().at(0)).key, "a");
  pipeline.send({GetState{"s", "b"}});
  EXPECT_EQ(failure_of([&] { pipeline.receive(); }).reason(), Reason::permission_denied);
}

TEST(Pipeline, ThatIsEndedByARefusalSaysThatWhatItTookMayBeDone) {
  Raw raw;
  Client client(raw.url(), {.retry = {.base = 1ms}});
  raw.fail({grpc::Status::OK, grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "")});
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  EXPECT_TRUE(pipeline.receive());
  pipeline.send({SetState{"s", "b", 1}});
  EXPECT_EQ(failure_of([&] { pipeline.receive(); }).reason(), Reason::outcome_unknown);
  EXPECT_EQ(raw.request_ids().size(), 2u);
}

TEST(Pipeline, OfAServiceThatIsNotThereIsStoreUnavailable) {
  Client client("http://127.0.0.1:9", {.retry = {.attempts = 3, .base = 1ms}});
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  EXPECT_EQ(failure_of([&] { pipeline.receive(); }).reason(), Reason::store_unavailable);
  EXPECT_FALSE(pipeline.receive());
}

TEST(Pipeline, ThatIsClosedBeforeItWasReadEndsItsCall) {
  Raw raw;
  Client client(raw.url());
  Pipeline pipeline = client.pipeline();
  pipeline.send({SetState{"s", "a", 1}});
  const auto soon = [](const auto& condition) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (!condition() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
    return condition();
  };
  ASSERT_TRUE(soon([&] { return raw.pipelines() == 1; }));
  pipeline.close();
  EXPECT_TRUE(soon([&] { return raw.pipelines() == 0; }));
  EXPECT_FALSE(pipeline.receive());
}

TEST(Pipeline, EndsWhenItIsClosedAlsoWhileSomeoneWaits) {
  Client client(shared_url());
  Pipeline pipeline = client.pipeline();
  std::thread closer([&] {
    std::this_thread::sleep_for(100ms);
    pipeline.close();
  });
  EXPECT_FALSE(pipeline.receive());
  closer.join();
  Pipeline unread = client.pipeline();
  unread.send({GetState{"s", "k"}});
}

TEST(Pipeline, OfAClientThatIsClosedSaysSo) {
  Client client(shared_url());
  Pipeline pipeline = client.pipeline();
  std::thread closer([&] {
    std::this_thread::sleep_for(100ms);
    client.close();
  });
  EXPECT_EQ(failure_of([&] { pipeline.receive(); }).reason(), Reason::shutting_down);
  closer.join();
}

}  // namespace
}  // namespace tests
