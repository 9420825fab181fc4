#include "support/service.hpp"

namespace tests {
namespace {

class Calls : public testing::Test {
 protected:
  Client client{shared_url()};
  std::string session = new_session();
};

TEST_F(Calls, AMissingKeyIsNothingAndAStoredNullIsNull) {
  EXPECT_FALSE(client.get_state(session, "k"));
  EXPECT_FALSE(client.get_entry(session, "k"));
  EXPECT_FALSE(client.get_session(session));
  client.set_state(session, "k", nullptr);
  const std::optional<Value> value = client.get_state(session, "k");
  ASSERT_TRUE(value);
  EXPECT_TRUE(value->is_null());
  EXPECT_FALSE(client.get_entry(session, "k").value().deleted);
}

TEST_F(Calls, AnEntryIsWrittenReadAndDeleted) {
  const Entry first = client.set_state(session, "k", {{"a", {1, 2.5}}});
  EXPECT_EQ(first.revision, 1);
  EXPECT_EQ(first.value, (Value{{"a", {1, 2.5}}}));
  EXPECT_FALSE(first.expire_time);
  const Entry second = client.set_state(session, "k", "new", {.if_revision = 1, .ttl = 1h});
  EXPECT_EQ(second.revision, 2);
  EXPECT_EQ(second.expire_time.value() - second.update_time, 1h);
  EXPECT_EQ(client.get_state(session, "k", {.at_revision = 1}), first.value);
  const auto error = failure_of([&] { client.set_state(session, "k", 3, {.if_revision = 1}); });
  EXPECT_EQ(error.reason(), Reason::revision_mismatch);
  EXPECT_EQ(error.failed_checks().at(0).key, "k");
  EXPECT_EQ(error.failed_checks().at(0).if_revision, 1);
  EXPECT_EQ(error.failed_checks().at(0).actual_revision, 2);
  EXPECT_TRUE(client.delete_state(session, "k", {.if_revision = 2}).deleted);
  const Deletion again = client.delete_state(session, "k");
  EXPECT_FALSE(again.deleted);
  EXPECT_EQ(again.revision, 3);
}

TEST_F(Calls, ASessionIsSavedReadAndDeleted) {
  const Session saved = client.save_session(
      session, {{"items", {"milk"}}, {"total", 1}},
      {.workflow_id = "shopping", .user_id = "u", .labels = {{"stage", "open"}}, .ttl = 1h});
  EXPECT_EQ(saved.revision, 1);
  EXPECT_EQ(saved.state, (State{{"items", {"milk"}}, {"total", 1}}));
  const Session read = client.get_session(session).value();
  EXPECT_EQ(read.session_id, session);
  EXPECT_EQ(read.state, saved.state);
  EXPECT_EQ(read.workflow_id, "shopping");
  EXPECT_EQ(read.user_id, "u");
  EXPECT_EQ(read.labels, (Labels{{"stage", "open"}}));
  EXPECT_EQ(read.create_time, read.update_time);
  EXPECT_EQ(read.expire_time.value() - read.update_time.value(), 1h);
  EXPECT_EQ(client.get_session(session, {.key_prefix = "it"}).value().state.size(), 1u);
  EXPECT_EQ(failure_of([&] { client.save_session(session, {}, {.if_revision = 0}); }).reason(),
            Reason::revision_mismatch);
  EXPECT_TRUE(client.delete_session(session));
  EXPECT_FALSE(client.delete_session(session));
}

TEST_F(Calls, ACommitIsComputedByTheService) {
  client.set_state(session, "old", 1);
  const Committed committed = client.commit(Commit(session)
                                                .check("items", 0)
                                                .check("old", 1)
                                                .append("items", {"a", "b", "c"}, 2)
                                                .increment("n")
                                                .increment("n", 1.5)
                                                .merge("o", {{"x", 1}, {"y", nullptr}})
                                                .set("s", Value::array(), 1h)
                                                .erase("old"));
  EXPECT_EQ(committed.revision, 2);
  EXPECT_EQ(committed.at("items").value, (Value{"b", "c"}));
  EXPECT_EQ(committed.at("n").value, 2.5);
  EXPECT_EQ(committed.at("o").value, (Value{{"x", 1}}));
  EXPECT_TRUE(committed.at("s").expire_time);
  EXPECT_TRUE(committed.at("old").deleted);
  EXPECT_THROW(committed.at("other"), std::out_of_range);
  const Committed kept = client.commit(Commit(session).set_keeping_expiry("s", 1));
  EXPECT_EQ(kept.at("s").expire_time, committed.at("s").expire_time);
  EXPECT_EQ(failure_of([&] { client.commit(Commit(session).increment("o")); }).reason(),
            Reason::value_type_mismatch);
}

TEST_F(Calls, ACommitChangesWhatIsKnownOfTheSession) {
  Commit commit(session);
  commit.increment("n");
  commit.workflow_id = "w";
  commit.labels = Labels{{"a", "b"}};
  commit.idle_ttl = 1h;
  client.commit(commit);
  Commit clear(session);
  clear.workflow_id = "";
  clear.labels = Labels{};
  clear.idle_ttl = 0ms;
  client.commit(clear);
  const Session before = client.get_session(session, {.at_revision = 1}).value();
  EXPECT_EQ(before.workflow_id, "w");
  EXPECT_EQ(before.labels, (Labels{{"a", "b"}}));
  const Session after = client.get_session(session).value();
  EXPECT_FALSE(after.workflow_id);
  EXPECT_TRUE(after.labels.empty());
  EXPECT_FALSE(after.expire_time);
}

TEST_F(Calls, ARequestIdIsDoneOnce) {
  Commit commit(session);
  commit.increment("n").request_id = "r";
  EXPECT_EQ(client.commit(commit).revision, 1);
  EXPECT_EQ(client.commit(commit).revision, 1);
  EXPECT_EQ(failure_of([&] { client.set_state(session, "n", 5, {.request_id = "r"}); }).reason(),
            Reason::request_id_reused);
  // Without one each call counts.
  const Commit plain = Commit(session).increment("n");
  client.commit(plain);
  EXPECT_EQ(client.commit(plain).at("n").value, 3);
}

TEST_F(Calls, ListingsGoOverPages) {
  State state;
  for (int key = 10; key < 35; ++key) state["k" + std::to_string(key)] = key;
  state["other"] = 0;
  client.save_session(session, state);
  std::vector<Value> values;
  for (const Entry& entry : client.list_state(session, {.key_prefix = "k", .page_size = 10})) {
    values.push_back(entry.value);
  }
  EXPECT_EQ(values.size(), 25u);
  EXPECT_EQ(values.front(), 10);
  EXPECT_EQ(values.back(), 34);
  EXPECT_EQ(client.list_state(session, {.start_after = "k30", .reverse = true}).next().value().key, "k29");

  auto listing = client.list_state(session, {.page_size = 20});
  const Page<Entry> page = listing.next_page().value();
  EXPECT_EQ(page.items.size(), 20u);
  EXPECT_EQ(client.list_state(session, {.page_size = 20, .page_token = page.next_page_token}).all().size(),
            6u);
  EXPECT_EQ(listing.next_page().value().items.size(), 6u);
  EXPECT_FALSE(listing.next_page());
  EXPECT_FALSE(listing.next());
}

TEST_F(Calls, SessionsAreListedByFilter) {
  const std::string prefix = session + "-of-";
  for (const char* name : {"a", "b", "c"}) {
    client.save_session(prefix + name, {{"n", 1}}, {.labels = {{"letter", name}}});
  }
  const SessionFilter all{.session_id_prefix = prefix};
  EXPECT_EQ(client.list_sessions(all, {.page_size = 2}).all().size(), 3u);
  const auto latest =
      client.list_sessions(all, {.view = SessionView::full, .order = SessionOrder::update_time_desc}).all();
  ASSERT_EQ(latest.size(), 3u);
  EXPECT_EQ(latest.at(0).state.size(), 1u);
  const auto labelled =
      client.list_sessions({.session_id_prefix = prefix, .labels = {{"letter", "b"}}}).all();
  ASSERT_EQ(labelled.size(), 1u);
  EXPECT_EQ(labelled[0].session_id, prefix + "b");
  EXPECT_TRUE(labelled[0].state.empty());
  const Time later = latest.at(0).update_time.value() + 1h;
  EXPECT_TRUE(client.list_sessions({.session_id_prefix = prefix, .updated_after = later}).all().empty());
  EXPECT_EQ(client.list_sessions({.session_id_prefix = prefix, .updated_before = later}).all().size(), 3u);
  const auto ids = client.get_all_session_ids();
  EXPECT_NE(std::find(ids.begin(), ids.end(), prefix + "c"), ids.end());
}

TEST_F(Calls, ABatchGivesAResultForEach) {
  const auto results = client.batch({
      SetState{session, "k", {1}},
      GetState{session, "k"},
      GetState{session, "none"},
      SetState{session, "k", 2, 9},
      Commit(session).increment("n"),
      DeleteState{session, "k"},
      GetSession{session},
      GetSession{session + "-none"},
  });
  ASSERT_EQ(results.size(), 8u);
  EXPECT_EQ(std::get<Entry>(results[0]).revision, 1);
  EXPECT_EQ(std::get<Entry>(results[1]).value, Value::array({1}));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(results[2]));
  const auto& error = std::get<WorkflowStateError>(results[3]);
  EXPECT_EQ(error.reason(), Reason::revision_mismatch);
  EXPECT_EQ(error.failed_checks().at(0).actual_revision, 1);
  EXPECT_EQ(std::get<Committed>(results[4]).at("n").value, 1);
  EXPECT_TRUE(std::get<Deletion>(results[5]).deleted);
  EXPECT_EQ(std::get<Session>(results[6]).state, (State{{"n", 1}}));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(results[7]));
}

TEST_F(Calls, HistoryIsReadForkedAndRestored) {
  client.save_session(session, {{"k", "old"}});
  client.set_state(session, "k", "new");
  const Session fork = client.fork_session(session, session + "-fork", {.at_revision = 1});
  EXPECT_EQ(fork.state, (State{{"k", "old"}}));
  EXPECT_EQ(fork.forked_from.value().session_id, session);
  EXPECT_EQ(fork.forked_from.value().revision, 1);
  EXPECT_EQ(failure_of([&] { client.fork_session(session, session + "-fork"); }).reason(),
            Reason::session_exists);
  EXPECT_EQ(failure_of([&] { client.fork_session(session + "-none", session + "-x"); }).reason(),
            Reason::session_not_found);
  const Session restored = client.restore_session(session, 1, {.if_revision = 2});
  EXPECT_EQ(restored.revision, 3);
  EXPECT_EQ(restored.state, (State{{"k", "old"}}));
  const auto events = client.list_events(session, {.page_size = 2}).all();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(to_string(events[0].kind), "SAVED");
  EXPECT_EQ(to_string(events[1].kind), "COMMITTED");
  EXPECT_EQ(to_string(events[2].kind), "RESTORED");
  EXPECT_EQ(events[1].entries.at(0).value, "new");
  EXPECT_EQ(events[1].request_id.size(), 32u);
  EXPECT_EQ(client.list_events(session, {.after_revision = 1, .reverse = true}).next().value().revision, 3);
  EXPECT_EQ(failure_of([&] { client.get_session(session, {.at_revision = 9}); }).reason(),
            Reason::future_revision);
}

TEST_F(Calls, ALargeForkIsReadPageByPage) {
  for (int key = 0; key < 6; ++key) {
    client.set_state(session, "k" + std::to_string(key), std::string(1'000'000, 'x'));
  }
  EXPECT_EQ(failure_of([&] { client.get_session(session); }).reason(), Reason::session_too_large);
  const Session fork = client.fork_session(session, session + "-fork");
  EXPECT_EQ(fork.state.size(), 6u);
  EXPECT_EQ(fork.state.at("k5").get_ref<const std::string&>().size(), 1'000'000u);
}

TEST_F(Calls, ADeepestValueIsReadInEveryAnswer) {
  Value deepest = 1;
  for (int level = 1; level < 32; ++level) deepest = Value{{"a", deepest}};
  client.set_state(session, "k", deepest);
  EXPECT_EQ(client.get_session(session).value().state.at("k"), deepest);
  EXPECT_EQ(std::get<Session>(client.batch({GetSession{session}}).at(0)).state.at("k"), deepest);
  EXPECT_EQ(client.list_sessions({.session_id_prefix = session}, {.view = SessionView::full})
                .next()
                .value()
                .state.at("k"),
            deepest);
  EXPECT_EQ(client.list_events(session).next().value().entries.at(0).value, deepest);
}

TEST_F(Calls, TimesAreShownAsElsewhere) {
  EXPECT_EQ(to_string(Time(1'000'000'000'007ms)), "2001-09-09T01:46:40.007Z");
  EXPECT_EQ(to_string(Time(-1ms)), "1969-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace tests
