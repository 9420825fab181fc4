#include <atomic>
#include <thread>

#include "support/service.hpp"

namespace tests {
namespace {

class Update : public testing::Test {
 protected:
  Client client{shared_url()};
  std::string session = new_session();
};

TEST_F(Update, ReadsChangesAndGivesWhatTheFunctionReturns) {
  client.save_session(session, {{"items", {"milk"}}, {"other", 1}});
  const int total = client.update(session, [](Draft& cart) {
    cart["items"].push_back("eggs");
    cart["total"] = cart["items"].size();
    return cart["total"].get<int>();
  });
  EXPECT_EQ(total, 2);
  EXPECT_EQ(client.get_session(session).value().state,
            (State{{"items", {"milk", "eggs"}}, {"other", 1}, {"total", 2}}));
  EXPECT_EQ(client.get_entry(session, "other").value().revision, 1);
}

TEST_F(Update, CreatesASessionAndWritesNothingForNothing) {
  client.update(session, [](Draft& draft) { draft.get("n"); });
  EXPECT_FALSE(client.get_session(session));
  client.update(session, [](Draft& draft) { draft["n"] = 1; });
  EXPECT_EQ(client.get_state(session, "n"), Value(1));
}

TEST_F(Update, DoesItAgainOnAConflict) {
  client.set_state(session, "n", 1);
  int runs = 0;
  client.update(session, [&](Draft& draft) {
    draft["n"] = draft["n"].get<int>() + 1;
    if (++runs == 1) client.set_state(session, "n", 10);
  });
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(client.get_state(session, "n"), Value(11));
}

TEST_F(Update, DoesItAgainOnAConflictWithTheWholeSession) {
  client.set_state(session, "n", 1);
  int runs = 0;
  client.update(session, [&](Draft& draft) {
    draft["count"] = draft.keys().size();
    if (++runs == 1) client.delete_state(session, "n");
  });
  // A deletion leaves no entry that would carry the newest revision: the check says it.
  EXPECT_EQ(client.get_state(session, "count"), Value(0));
}

TEST_F(Update, IsMadeAlsoOnceItsSessionIsDeleted) {
  client.set_state(session, "n", 1);
  int runs = 0;
  client.update(session, [&](Draft& draft) {
    draft["count"] = draft.keys().size();
    if (++runs == 1) client.set_state(session, "m", 1);
    if (runs == 2) client.delete_session(session);
  });
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(client.get_state(session, "count"), Value(0));
}

TEST_F(Update, DoesNotMindWhatItDidNotLookAt) {
  client.set_state(session, "n", 1);
  int runs = 0;
  client.update(session, [&](Draft& draft) {
    draft["n"] = 2;
    if (++runs == 1) client.set_state(session, "m", 1);
  });
  EXPECT_EQ(runs, 1);
}

TEST_F(Update, GivesUpAfterSoManyAttempts) {
  int runs = 0;
  const auto error = failure_of([&] {
    client.update(session,
                  [&](Draft& draft) {
                    draft["n"] = ++runs;
                    client.set_state(session, "n", -runs);
                  },
                  {.attempts = 3});
  });
  EXPECT_EQ(error.reason(), Reason::revision_mismatch);
  EXPECT_EQ(runs, 3);
}

TEST_F(Update, WritesNothingIfTheFunctionThrows) {
  int runs = 0;
  const auto error = failure_of([&] {
    client.update(session, [&](Draft& draft) {
      draft["n"] = ++runs;
      throw WorkflowStateError(Reason::revision_mismatch, "of the function's own");
    });
  });
  EXPECT_EQ(error.message(), "of the function's own");
  EXPECT_EQ(runs, 1) << "not a conflict of the update's";
  EXPECT_FALSE(client.get_session(session));
}

TEST_F(Update, FromManyThreadsAllCount) {
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  Client other(shared_url());
  for (int number = 0; number < 10; ++number) {
    threads.emplace_back([&, number] {
      try {
        for (int round = 0; round < 5; ++round) {
          (number % 2 == 0 ? client : other).update(session, [](Draft& draft) {
            draft["n"] = draft.value("n", 0).get<int>() + 1;
          });
        }
      } catch (const WorkflowStateError&) {
        ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(client.get_state(session, "n"), Value(50));
}

TEST_F(Update, OfTheSessionThatIsBeingUpdatedIsRefused) {
  client.update(session, [&](Draft& draft) {
    draft["n"] = 1;
    EXPECT_EQ(failure_of([&] { client.update(session, [](Draft&) {}); }).reason(), Reason::invalid_request);
    client.update(session + "-other", [](Draft& other) { other["n"] = 2; });
  });
  // And goes on working.
  client.update(session, [](Draft& draft) { draft["n"] = 3; });
  EXPECT_EQ(client.get_state(session, "n"), Value(3));
}

TEST_F(Update, OfASessionOfManyPagesSeesAllOfIt) {
  for (int key = 0; key < 5; ++key) {
    client.set_state(session, "k" + std::to_string(key), std::string(1'000'000, 'x'));
  }
  const auto keys = client.update(session, [](Draft& draft) {
    draft["small"] = 1;
    return draft.keys();
  });
  EXPECT_EQ(keys.size(), 6u);
  EXPECT_EQ(client.get_state(session, "small"), Value(1));
}

}  // namespace
}  // namespace tests
