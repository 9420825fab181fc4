#include "failures.hpp"
#include "support/raw.hpp"

namespace tests {
namespace {

v1::ErrorDetail detail_of(int reason) {
  v1::ErrorDetail detail;
  detail.set_reason(static_cast<v1::ErrorReason>(reason));
  return detail;
}

TEST(Errors, HaveTheReasonsAndCodesOfTheWire) {
  const auto* reasons = v1::ErrorReason_descriptor();
  for (int index = 1; index < reasons->value_count(); ++index) {
    const auto* reason = reasons->value(index);
    const std::string name = reason->name().substr(std::string("ERROR_REASON_").size());
    EXPECT_EQ(to_string(static_cast<Reason>(reason->number())), name);
    EXPECT_NE(code_of(static_cast<Reason>(reason->number())), Code::unknown) << name;
  }
  EXPECT_EQ(to_string(Code::invalid_argument), "INVALID_ARGUMENT");
  EXPECT_EQ(to_string(Code::unauthenticated), "UNAUTHENTICATED");
  EXPECT_EQ(code_of(Reason::revision_mismatch), Code::aborted);
}

TEST(Errors, SayWhatTheDetailSays) {
  v1::ErrorDetail detail = detail_of(v1::ERROR_REASON_REVISION_MISMATCH);
  (*detail.mutable_metadata())["key"] = "k";
  auto& check = *detail.add_failed_checks();
  check.set_key("k");
  check.set_if_revision(1);
  check.set_actual_revision(2);
  const auto error = detail::failure_of(status_with(grpc::StatusCode::ABORTED, detail), true);
  EXPECT_EQ(error.reason(), Reason::revision_mismatch);
  EXPECT_EQ(error.code(), Code::aborted);
  EXPECT_EQ(error.message(), "what the service says");
  EXPECT_EQ(std::string(error.what()), "REVISION_MISMATCH: what the service says");
  EXPECT_EQ(error.metadata(), (WorkflowStateError::Metadata{{"key", "k"}}));
  ASSERT_EQ(error.failed_checks().size(), 1u);
  EXPECT_EQ(error.failed_checks()[0].actual_revision, 2);
}

TEST(Errors, OfAReasonThatIsNotKnownKeepItWithItsCode) {
  const auto error = detail::failure_of(status_with(grpc::StatusCode::DATA_LOSS, detail_of(99)), true);
  EXPECT_EQ(static_cast<int>(error.reason()), 99);
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_EQ(to_string(error.reason()), "REASON_99");
}

TEST(Errors, WithoutADetailAreToldByTheirCode) {
  const std::vector<std::pair<grpc::StatusCode, Reason>> all{
      {grpc::StatusCode::INVALID_ARGUMENT, Reason::invalid_request},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, Reason::request_too_large},
      {grpc::StatusCode::UNAUTHENTICATED, Reason::unauthenticated},
      {grpc::StatusCode::PERMISSION_DENIED, Reason::permission_denied},
      {grpc::StatusCode::UNIMPLEMENTED, Reason::invalid_request},
      {grpc::StatusCode::NOT_FOUND, Reason::invalid_request},
  };
  for (const auto& [code, reason] : all) {
    EXPECT_EQ(detail::failure_of({code, "said"}, true).reason(), reason);
  }
  for (const auto code :
       {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::INTERNAL, grpc::StatusCode::DEADLINE_EXCEEDED,
        grpc::StatusCode::CANCELLED, grpc::StatusCode::UNKNOWN}) {
    EXPECT_EQ(detail::failure_of({code, "said"}, true).reason(), Reason::outcome_unknown);
    EXPECT_EQ(detail::failure_of({code, "said"}, false).reason(), Reason::store_unavailable);
  }
  EXPECT_EQ(detail::failure_of({grpc::StatusCode::INTERNAL, "said"}, false).cause(), "INTERNAL: said");
}

TEST(Errors, WithDetailsThatCanNotBeReadAreToldByTheirCode) {
  for (const std::string& details :
       {std::string("\xff\xff"), std::string("\x1a\x7f", 2), std::string("\x1a\x02\xff\xff", 4)}) {
    EXPECT_EQ(detail::failure_of({grpc::StatusCode::PERMISSION_DENIED, "said", details}, true).reason(),
              Reason::permission_denied);
  }
}

TEST(Errors, OfTheWireReachTheCaller) {
  Raw raw;
  Client client(raw.url());
  v1::ErrorDetail detail = detail_of(v1::ERROR_REASON_VALUE_TYPE_MISMATCH);
  (*detail.mutable_metadata())["key"] = "k";
  raw.fail({status_with(grpc::StatusCode::FAILED_PRECONDITION, detail)});
  const auto error = failure_of([&] { client.set_state("s", "k", 1); });
  EXPECT_EQ(error.reason(), Reason::value_type_mismatch);
  EXPECT_EQ(error.metadata().at("key"), "k");
  EXPECT_EQ(raw.request_ids().size(), 1u) << "only UNAVAILABLE is tried again";
}

TEST(Errors, OfAResultOfAnUnknownKindSayWhetherAWriteMayBeDone) {
  Raw raw;
  Client client(raw.url());
  const std::vector<Result> results = client.batch({GetState{"s", "k"}, SetState{"s", "k", 1}});
  EXPECT_EQ(std::get<WorkflowStateError>(results.at(0)).reason(), Reason::store_unavailable);
  EXPECT_EQ(std::get<WorkflowStateError>(results.at(1)).reason(), Reason::outcome_unknown);
}

TEST(Errors, OfArgumentsNeedNoService) {
  Client client("http://127.0.0.1:9");
  const auto reason = [&](const auto& call) { return failure_of(call).reason(); };
  EXPECT_EQ(reason([&] { client.get_state("\xff", "k"); }), Reason::invalid_session_id);
  EXPECT_EQ(reason([&] { client.get_state("s", "\xff"); }), Reason::invalid_key);
  EXPECT_EQ(reason([&] { client.set_state("s", "k", NAN); }), Reason::invalid_value);
  EXPECT_EQ(reason([&] { client.set_state("s", "k", 1, {.if_revision = -1}); }), Reason::invalid_request);
  EXPECT_EQ(reason([&] { client.commit(Commit("s").increment("k", INFINITY)); }), Reason::invalid_request);
  EXPECT_EQ(reason([&] { client.save_session("s", {{"\xff", 1}}); }), Reason::invalid_key);
  EXPECT_EQ(reason([&] {
              client.save_session("s", {}, {.labels = {{"a", "\xff"}}});
            }),
            Reason::invalid_request);
  EXPECT_EQ(reason([&] { client.get_state("s", "k", {.timeout = 0ms}); }), Reason::invalid_request);
  EXPECT_EQ(reason([&] { client.list_events("s", {.page_size = -1}); }), Reason::invalid_request);
}

}  // namespace
}  // namespace tests
