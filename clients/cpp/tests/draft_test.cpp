#include "support/service.hpp"

namespace tests {
namespace {

Entry entry(const std::string& key, const Value& value, std::int64_t revision) {
  Entry made;
  made.key = key;
  made.value = value;
  made.revision = revision;
  return made;
}

std::map<std::string, Entry> seen() {
  return {
      {"items", entry("items", {"milk"}, 3)}, {"n", entry("n", 1, 5)}, {"null", entry("null", nullptr, 2)}};
}

std::map<std::string, std::int64_t> checks_of(const Commit& commit) {
  std::map<std::string, std::int64_t> checks;
  for (const Check& check : commit.checks) checks[check.key] = check.if_revision;
  return checks;
}

using Checks = std::map<std::string, std::int64_t>;

TEST(Draft, OfNothingChangedCommitsNothing) {
  Draft draft(seen(), 7);
  EXPECT_EQ(draft.get("n"), Value(1));
  draft["n"] = 1.0;
  draft["items"].push_back("x");
  draft["items"].erase(1);
  EXPECT_FALSE(draft.erase("none"));
  EXPECT_FALSE(draft.commit("s"));
}

TEST(Draft, ChecksWhatWasLookedAtAndWritesWhatWasChanged) {
  Draft draft(seen(), 7);
  EXPECT_FALSE(draft.contains("coupon"));
  EXPECT_EQ(draft.value("gift", "none"), Value("none"));
  draft["items"].push_back("eggs");
  draft.set("total", 2);
  const Commit commit = draft.commit("s").value();
  EXPECT_EQ(commit.session_id, "s");
  EXPECT_FALSE(commit.if_revision);
  EXPECT_EQ(checks_of(commit), (Checks{{"coupon", 0}, {"gift", 0}, {"items", 3}, {"total", 0}}));
  ASSERT_EQ(commit.changes.size(), 2u);
  EXPECT_EQ(std::get<SetChange>(commit.changes[0]).value, (Value{"milk", "eggs"}));
  EXPECT_EQ(std::get<SetChange>(commit.changes[1]).key, "total");
}

TEST(Draft, AnAbsentKeyStaysAbsentUnlessItIsGivenAValue) {
  Draft draft(seen(), 7);
  EXPECT_TRUE(draft["asked"].is_null());
  EXPECT_FALSE(draft.contains("asked"));
  EXPECT_FALSE(draft.commit("s"));
  draft["list"].push_back(1);
  draft.set("nothing", nullptr);
  EXPECT_TRUE(draft.contains("nothing"));
  const Commit commit = draft.commit("s").value();
  ASSERT_EQ(commit.changes.size(), 2u);
  EXPECT_EQ(std::get<SetChange>(commit.changes[0]).value, Value::array({1}));
  EXPECT_EQ(std::get<SetChange>(commit.changes[1]).key, "nothing");
}

TEST(Draft, AStoredNullIsThere) {
  Draft draft(seen(), 7);
  EXPECT_TRUE(draft.contains("null"));
  EXPECT_EQ(draft.get("null"), std::make_optional<Value>(nullptr));
  EXPECT_TRUE(draft.erase("null"));
  EXPECT_FALSE(draft.get("null"));
  EXPECT_EQ(std::get<DeleteChange>(draft.commit("s").value().changes.at(0)).key, "null");
}

TEST(Draft, WhoAsksForAllKeysHasLookedAtEverything) {
  Draft draft(seen(), 7);
  EXPECT_EQ(draft.keys(), (std::vector<std::string>{"items", "n", "null"}));
  draft["n"] = 2;
  const Commit commit = draft.commit("s").value();
  EXPECT_EQ(commit.if_revision, 7);
  EXPECT_TRUE(commit.checks.empty());
}

TEST(Draft, ALogLooksAtNothing) {
  Draft draft(seen(), 7);
  draft.set("new", true);
  draft.erase("n");
  EXPECT_EQ(draft.state(), (State{{"items", {"milk"}}, {"new", true}, {"null", nullptr}}));
  EXPECT_EQ(checks_of(draft.commit("s").value()), (Checks{{"n", 5}, {"new", 0}}));
}

TEST(Draft, ANumberThatWouldBeRoundedIsRefusedAlsoIfItsRoundingIsThereAlready) {
  Draft draft({{"n", entry("n", std::int64_t{9007199254740992}, 1)}}, 1);
  draft["n"] = std::int64_t{9007199254740993};
  EXPECT_EQ(failure_of([&] { draft.commit("s"); }).reason(), Reason::invalid_value);
}

TEST(Draft, WhatCanNotBeAKeyIsLookedAtInVainAndNotWritten) {
  Draft draft(seen(), 7);
  EXPECT_FALSE(draft.contains(""));
  EXPECT_FALSE(draft.contains("\xff"));
  EXPECT_EQ(failure_of([&] { draft.set("\xff", 1); }).reason(), Reason::invalid_key);
  draft["n"] = 2;
  EXPECT_EQ(checks_of(draft.commit("s").value()), (Checks{{"n", 5}}));
}

TEST(Draft, OfMoreKeysThanACommitTakesChecksChecksTheSession) {
  Draft draft({}, 9);
  for (int key = 0; key <= 1000; ++key) draft.contains(std::to_string(key));
  draft.set("n", 1);
  EXPECT_EQ(draft.commit("s").value().if_revision, 9);
}

}  // namespace
}  // namespace tests
