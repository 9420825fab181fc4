#include <set>
#include <thread>

#include "support/proxy.hpp"
#include "support/raw.hpp"

namespace tests {
namespace {

// Nothing listens there.
constexpr const char* nowhere = "http://127.0.0.1:9";

const grpc::Status unavailable(grpc::StatusCode::UNAVAILABLE, "not now");
const ClientOptions quick{.retry = {.attempts = 3, .base = 1ms, .most = 5ms}};

grpc::Status refused(int reason, grpc::StatusCode code) {
  v1::ErrorDetail detail;
  detail.set_reason(static_cast<v1::ErrorReason>(reason));
  return status_with(code, detail);
}

TEST(Retries, UnavailableIsTriedAgainUnderOneRequestId) {
  Raw raw;
  Client client(raw.url(), quick);
  raw.fail({unavailable, unavailable});
  EXPECT_EQ(client.set_state("s", "k", "v").value, "v");
  client.set_state("s", "k", "v");
  const std::vector<std::string> ids = raw.request_ids();
  ASSERT_EQ(ids.size(), 4u);
  EXPECT_EQ(ids[0].size(), 32u);
  EXPECT_EQ(ids[0], ids[1]);
  EXPECT_EQ(ids[0], ids[2]);
  EXPECT_NE(ids[0], ids[3]);
}

TEST(Retries, AGivenRequestIdIsSent) {
  Raw raw;
  Client client(raw.url(), quick);
  client.set_state("s", "k", 1, {.request_id = "mine"});
  EXPECT_EQ(raw.request_ids(), (std::vector<std::string>{"mine"}));
}

TEST(Retries, EndWithTheAttempts) {
  Raw raw;
  Client client(raw.url(), quick);
  raw.fail(std::vector<grpc::Status>(9, unavailable));
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::outcome_unknown);
  EXPECT_EQ(failure_of([&] { client.get_state("s", "k"); }).reason(), Reason::store_unavailable);
  EXPECT_EQ(raw.carried("user-agent").size(), 6u);
}

TEST(Retries, AWriteThatMayBeDoneSaysSoUnlessTheServiceKnows) {
  Raw raw;
  Client client(raw.url(), quick);
  const auto outcome = [&](const grpc::Status& last) {
    raw.fail({unavailable, last});
    return failure_of([&] { client.set_state("s", "k", 1); }).reason();
  };
  using Status = grpc::StatusCode;
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_VALUE_TYPE_MISMATCH, Status::FAILED_PRECONDITION)),
            Reason::value_type_mismatch);
  // Decided before the request id is looked at.
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_UNAUTHENTICATED, Status::UNAUTHENTICATED)),
            Reason::outcome_unknown);
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_RATE_LIMITED, Status::RESOURCE_EXHAUSTED)),
            Reason::outcome_unknown);
  // Of what was not tried before it is the whole answer.
  raw.fail({refused(v1::ERROR_REASON_UNAUTHENTICATED, Status::UNAUTHENTICATED)});
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::unauthenticated);
}

TEST(Retries, WhatAProxyRefusesLeavesALostWriteInDoubt) {
  Raw raw;
  Client client(raw.url(), quick);
  for (const auto code :
       {grpc::StatusCode::UNIMPLEMENTED, grpc::StatusCode::NOT_FOUND, grpc::StatusCode::RESOURCE_EXHAUSTED}) {
    raw.fail({unavailable, grpc::Status(code, "a proxy's")});
    EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::outcome_unknown);
  }
  raw.fail({unavailable, grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the service's")});
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::invalid_request);
  // With its reason it is the store's word.
  raw.fail({unavailable, refused(v1::ERROR_REASON_STORAGE_FULL, grpc::StatusCode::RESOURCE_EXHAUSTED)});
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::storage_full);
}

TEST(Retries, AWriteThatWasMadeIsNotReportedAsRefused) {
  Raw raw;
  Client client(raw.url(), quick);
  const auto outcome = [&](const grpc::Status& reading) {
    raw.fail({grpc::Status::OK, reading});
    return failure_of([&] { client.fork_session("s", "fork"); }).reason();
  };
  using Status = grpc::StatusCode;
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_UNAUTHENTICATED, Status::UNAUTHENTICATED)),
            Reason::outcome_unknown);
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_PERMISSION_DENIED, Status::PERMISSION_DENIED)),
            Reason::outcome_unknown);
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_RATE_LIMITED, Status::RESOURCE_EXHAUSTED)),
            Reason::outcome_unknown);
  EXPECT_EQ(outcome(grpc::Status(Status::NOT_FOUND, "a proxy's")), Reason::outcome_unknown);
  EXPECT_EQ(outcome(refused(v1::ERROR_REASON_HISTORY_COMPACTED, Status::OUT_OF_RANGE)),
            Reason::history_compacted);
}

TEST(Retries, AnUnavailableServiceThatSaysThatNothingWasDoneIsBelieved) {
  Raw raw;
  Client client(raw.url(), quick);
  raw.fail(std::vector<grpc::Status>(
      3, refused(v1::ERROR_REASON_STORE_UNAVAILABLE, grpc::StatusCode::UNAVAILABLE)));
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::store_unavailable);
  EXPECT_EQ(raw.request_ids().size(), 3u);
  // A reason that is not known says nothing of that.
  raw.fail(std::vector<grpc::Status>(3, refused(99, grpc::StatusCode::UNAVAILABLE)));
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::outcome_unknown);
}

TEST(Retries, AServiceThatIsNotThereIsStoreUnavailableAlsoForAWrite) {
  Client client(nowhere, quick);
  const auto error = failure_of([&] { client.set_state("s", "k", 1); });
  EXPECT_EQ(error.reason(), Reason::store_unavailable);
  EXPECT_EQ(failure_of([&] { client.batch({SetState{"s", "k", 1}}); }).reason(), Reason::store_unavailable);
  EXPECT_EQ(failure_of([&] { client.get_state("s", "k"); }).reason(), Reason::store_unavailable);
}

TEST(Retries, AServiceThatIsGoneIsStoreUnavailableAlsoForAWrite) {
  auto service = std::make_unique<Service>();
  Client client(service->url(), quick);
  client.set_state("s", "k", 1);
  service.reset();
  // From when the connection is known to be lost.
  failure_of([&] { client.get_state("s", "k"); });
  EXPECT_EQ(failure_of([&] { client.set_state("s", "k", 1); }).reason(), Reason::store_unavailable);
}

TEST(Retries, EndWhenTheTimeOfTheCallIsOver) {
  Client client(nowhere, {.timeout = 200ms, .retry = {.attempts = 1000, .base = 10ms, .most = 10ms}});
  EXPECT_LT(time_of([&] { failure_of([&] { client.get_state("s", "k"); }); }), 2s);
}

TEST(Retries, AWriteWhoseAnswerWasLostIsDoneOnce) {
  Service service;
  Proxy proxy(service.port());
  Client client(proxy.url());
  const std::string session = new_session();
  client.set_state(session, "warm", 1);
  const std::vector<std::function<void()>> writes{
      [&] { client.commit(Commit(session).increment("n")); },
      [&] {
        client.batch({Commit(session).increment("n"), GetState{session, "n"}});
      },
      [&] { client.update(session, [](Draft& draft) { draft["n"] = draft["n"].get<int>() + 1; }); },
  };
  int count = 0;
  for (const auto& write : writes) {
    proxy.lose_answers = 2;
    write();
    EXPECT_EQ(proxy.lose_answers, 0);
    EXPECT_EQ(client.get_state(session, "n"), Value(++count));
  }
}

TEST(Retries, AnOutcomeThatCanNotBeKnownIsSaidToBe) {
  Service service;
  Proxy proxy(service.port());
  Client client(proxy.url(), quick);
  const std::string session = new_session();
  client.set_state(session, "n", 0);
  proxy.lose_answers = 100;
  EXPECT_EQ(failure_of([&] { client.commit(Commit(session).increment("n")); }).reason(),
            Reason::outcome_unknown);
  EXPECT_EQ(failure_of([&] { client.get_state(session, "n"); }).reason(), Reason::store_unavailable);
  proxy.lose_answers = 0;
  EXPECT_EQ(Client(service.url()).get_state(session, "n"), Value(1));
}

TEST(Retries, ADeadlineEndsACallThatIsNotAnswered) {
  Service service;
  Proxy proxy(service.port());
  Client client(proxy.url());
  const std::string session = new_session();
  client.set_state(session, "n", 1);
  proxy.black_hole = true;
  const Span took = time_of([&] {
    EXPECT_EQ(failure_of([&] { client.get_state(session, "n", {.timeout = 1s}); }).reason(),
              Reason::store_unavailable);
    EXPECT_EQ(failure_of([&] { client.set_state(session, "n", 2, {.timeout = 1s}); }).reason(),
              Reason::outcome_unknown);
  });
  EXPECT_GE(took, 2s);
  EXPECT_LT(took, 20s);
}

TEST(Retries, AClosedClientEndsWhatIsUnderWay) {
  Service service;
  Proxy proxy(service.port());
  Client client(proxy.url());
  client.set_state("s", "n", 1);
  proxy.black_hole = true;
  std::thread closer([&] {
    until([&] { return proxy.swallowed > 0; });
    client.close();
  });
  EXPECT_EQ(failure_of([&] { client.set_state("s", "n", 2); }).reason(), Reason::outcome_unknown);
  closer.join();
  EXPECT_EQ(failure_of([&] { client.set_state("s", "n", 2); }).reason(), Reason::store_unavailable);
}

}  // namespace
}  // namespace tests
