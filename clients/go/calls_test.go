package workflowstate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

func TestEntriesAreSetReadListedAndDeleted(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		first := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "a/1", 1))
		equal(t, first.Revision, 1)
		equal(t, time.Since(first.UpdateTime) < time.Minute, true)
		equal(t, first.ExpireTime.IsZero(), true)
		second := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "a/2", 2, workflowstate.TTL(time.Hour)))
		equal(t, second.ExpireTime.Sub(second.UpdateTime), time.Hour)
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, "b", 3, workflowstate.IfRevision(0)))

		list := func(options ...workflowstate.ListStateOption) string {
			var keys []string
			for entry, err := range client.ListState(ctx, id, options...) {
				noError(t, err)
				keys = append(keys, entry.Key)
			}
			return strings.Join(keys, " ")
		}
		equal(t, list(), "a/1 a/2 b")
		equal(t, list(workflowstate.PageSize(1)), "a/1 a/2 b")
		equal(t, list(workflowstate.KeyPrefix("a/")), "a/1 a/2")
		equal(t, list(workflowstate.StartAfter("a/1"), workflowstate.Reverse(false)), "a/2 b")
		equal(t, list(workflowstate.Reverse(true)), "b a/2 a/1")
		equal(t, list(workflowstate.AtRevision(1)), "a/1")
		page := must[workflowstate.Page[*workflowstate.Entry]](t)(
			client.ListStatePage(ctx, id, workflowstate.PageSize(2)))
		equal(t, len(page.Items), 2)
		equal(t, list(workflowstate.PageSize(2), workflowstate.PageToken(page.NextPageToken)), "b")

		deletion := must[*workflowstate.Deletion](t)(
			client.DeleteState(ctx, id, "a/1", workflowstate.IfRevision(1)))
		equal(t, *deletion, workflowstate.Deletion{Deleted: true, Revision: 4})
		equal(t, must[*workflowstate.Deletion](t)(client.DeleteState(ctx, id, "a/1")).Deleted, false)
		equal(t, must[any](t)(client.GetState(ctx, id, "a/1", workflowstate.AtRevision(3))), any(1.0))
	})
}

func TestAListingThatFailsSaysSoAndEnds(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	count := 0
	for _, err := range client.ListState(ctx, id, workflowstate.PageToken("not a token")) {
		fails(t, err, workflowstate.ReasonInvalidPageToken)
		count++
	}
	equal(t, count, 1)
}

func TestSessionsAreSavedReadListedAndDeleted(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		equal(t, must[*workflowstate.Session](t)(client.GetSession(ctx, id)), nil)
		saved := must[*workflowstate.Session](t)(client.SaveSession(ctx, id, object{"a": 1, "b": 2},
			workflowstate.IfRevision(0), workflowstate.WorkflowID("w"), workflowstate.UserID("u"),
			workflowstate.Labels{"test": id}, workflowstate.TTL(time.Hour), workflowstate.IdleTTL(time.Minute)))
		equal(t, saved.ExpireTime.Sub(saved.UpdateTime), time.Minute)
		session := must[*workflowstate.Session](t)(client.GetSession(ctx, id))
		same(t, "what was saved", any(session), any(saved))
		equal(t, session.WorkflowID+session.UserID+session.Labels["test"], "wu"+id)
		part := must[*workflowstate.Session](t)(client.GetSession(ctx, id, workflowstate.KeyPrefix("b")))
		same(t, "a part of the state", any(part.State), any(object{"b": 2.0}))

		replaced := must[*workflowstate.Session](t)(client.SaveSession(ctx, id, nil,
			workflowstate.IfRevision(1), workflowstate.Labels{"test": id},
			workflowstate.TTL(0), workflowstate.IdleTTL(0)))
		equal(t, len(replaced.State), 0)
		equal(t, replaced.ExpireTime.IsZero() && replaced.WorkflowID == "", true)

		other := must[*workflowstate.Session](t)(client.SaveSession(ctx, id+"-other", object{"k": 1},
			workflowstate.Labels{"test": id}))
		list := func(options ...workflowstate.ListSessionsOption) string {
			var ids []string
			options = append(options, workflowstate.Labels{"test": id})
			for session, err := range client.ListSessions(ctx, options...) {
				noError(t, err)
				ids = append(ids, strings.TrimPrefix(session.SessionID, id)+fmt.Sprint(len(session.State)))
			}
			return strings.Join(ids, " ")
		}
		equal(t, list(), "0 -other0")
		equal(t, list(workflowstate.PageSize(1), workflowstate.ViewFull), "0 -other1")
		equal(t, list(workflowstate.OrderUpdateTimeDesc, workflowstate.ViewIDs)[:6], "-other")
		equal(t, list(workflowstate.SessionIDPrefix(id+"-")), "-other0")
		equal(t, list(workflowstate.WorkflowID("w")), "")
		equal(t, list(workflowstate.UpdatedAfter(other.UpdateTime)), "")
		equal(t, list(workflowstate.UpdatedBefore(replaced.UpdateTime.Add(-time.Second))), "")
		ids := must[[]string](t)(client.AllSessionIDs(ctx))
		equal(t, strings.Contains(strings.Join(ids, "\n"), id+"-other"), true)

		equal(t, must[bool](t)(client.DeleteSession(ctx, id, workflowstate.IfRevision(2))), true)
		equal(t, must[bool](t)(client.DeleteSession(ctx, id)), false)
	})
}

func TestACommitDoesAllOrNothing(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		items := list{"eggs"}
		commit := workflowstate.NewCommit(id).
			IfRevision(0).Check("free", 0).
			Set("list", items).Append("list", "milk").AppendLast("last", 2, 1, 2, 3).
			Increment("n", 2.5).Increment("n", -1).
			Merge("o", object{"a": 1, "b": nil}).
			Set("gone", 1).Delete("gone").
			Set("lease", "me", workflowstate.TTL(time.Hour)).
			WorkflowID("w").UserID("u").Labels(map[string]string{"a": "b"}).TTL(time.Hour).IdleTTL(time.Minute)
		items[0] = "changed later"
		committed := must[*workflowstate.Committed](t)(client.Commit(ctx, commit))
		equal(t, committed.Revision, 1)
		same(t, "list", committed.Entry("list").Value, list{"eggs", "milk"})
		same(t, "last", committed.Entry("last").Value, list{2.0, 3.0})
		same(t, "n", committed.Entry("n").Value, 1.5)
		same(t, "o", committed.Entry("o").Value, object{"a": 1.0})
		equal(t, committed.Entry("gone").Deleted, true)
		equal(t, committed.Entry("none"), nil)
		session := must[*workflowstate.Session](t)(client.GetSession(ctx, id))
		equal(t, session.WorkflowID+session.UserID+session.Labels["a"], "wub")
		equal(t, session.ExpireTime.Sub(session.UpdateTime), time.Minute)

		late := workflowstate.NewCommit(id).Set("n", 0).Check("n", 7).Check("x", 1).IfRevision(1)
		_, err := client.Commit(ctx, late)
		failure := fails(t, err, workflowstate.ReasonRevisionMismatch)
		same(t, "the checks", any(failure.FailedChecks), any([]workflowstate.FailedCheck{
			{Key: "n", IfRevision: 7, ActualRevision: 1}, {Key: "x", IfRevision: 1, ActualRevision: 0},
		}))
		_, err = client.Commit(ctx, workflowstate.NewCommit(id).Set("n", 0).Increment("list", 1))
		fails(t, err, workflowstate.ReasonValueTypeMismatch)
		same(t, "n", must[any](t)(client.GetState(ctx, id, "n")), 1.5)

		clear := workflowstate.NewCommit(id).WorkflowID("").Labels(nil).TTL(0).IdleTTL(0).
			Set("lease", "still me", workflowstate.KeepExpiry(true))
		entry := must[*workflowstate.Committed](t)(client.Commit(ctx, clear)).Entry("lease")
		equal(t, entry.ExpireTime.IsZero(), false)
		session = must[*workflowstate.Session](t)(client.GetSession(ctx, id))
		equal(t, session.WorkflowID == "" && len(session.Labels) == 0 && session.ExpireTime.IsZero(), true)
		equal(t, session.UserID, "u")
	})
}

func TestACommitWithoutNewCommitIsRefused(t *testing.T) {
	client, ctx := connect(t, shared.url), context.Background()
	for _, commit := range []*workflowstate.Commit{nil, {}} {
		_, err := client.Commit(ctx, commit)
		fails(t, err, workflowstate.ReasonInvalidRequest)
	}
}

func TestARequestIDIsDoneOnce(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		commit := workflowstate.NewCommit(id).Increment("n", 1).RequestID("once")
		for range 3 {
			equal(t, must[*workflowstate.Committed](t)(client.Commit(ctx, commit)).Revision, 1)
		}
		_, err := client.Commit(ctx, workflowstate.NewCommit(id).Increment("n", 2).RequestID("once"))
		fails(t, err, workflowstate.ReasonRequestIDReused)
		// Without one, each counts.
		again := workflowstate.NewCommit(id).Increment("n", 1)
		must[*workflowstate.Committed](t)(client.Commit(ctx, again))
		must[*workflowstate.Committed](t)(client.Commit(ctx, again))
		same(t, "n", must[any](t)(client.GetState(ctx, id, "n")), 3.0)
		for range 2 {
			entry := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", 1, workflowstate.RequestID("set")))
			equal(t, entry.Revision, 4)
		}
		events := map[string]int{}
		for event, err := range client.ListEvents(ctx, id) {
			noError(t, err)
			events[event.RequestID]++
		}
		// Every write has one, each its own.
		equal(t, len(events), 4)
		equal(t, events[""], 0)
	})
}

func TestATTLThatIsOverSinceAMomentAgoIsRefused(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	for _, over := range []time.Duration{-1, -500 * time.Microsecond, -time.Millisecond} {
		ttl := workflowstate.TTL(over)
		_, err := client.SetState(ctx, id, "k", 1, ttl)
		fails(t, err, workflowstate.ReasonInvalidRequest)
		_, err = client.SaveSession(ctx, id, object{"k": 1}, ttl)
		fails(t, err, workflowstate.ReasonInvalidRequest)
		_, err = client.Commit(ctx, workflowstate.NewCommit(id).Set("k", 1, ttl))
		fails(t, err, workflowstate.ReasonInvalidRequest)
		_, err = client.Commit(ctx, workflowstate.NewCommit(id).Set("k", 1).TTL(over))
		fails(t, err, workflowstate.ReasonInvalidRequest)
	}
	// What is short is not none.
	entry := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", 1, workflowstate.TTL(1)))
	equal(t, entry.ExpireTime.IsZero(), false)
}

func TestABatchGivesAResultForEachOperation(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		results := must[[]workflowstate.Result](t)(client.Batch(ctx,
			workflowstate.GetOp(id, "k"),
			workflowstate.SetOp(id, "k", "v"),
			workflowstate.SetOp(id, "k", "w", workflowstate.IfRevision(9)),
			workflowstate.NewCommit(id).Increment("n", 1),
			workflowstate.GetOp(id, "n"),
			workflowstate.GetSessionOp(id, workflowstate.KeyPrefix("k")),
			workflowstate.DeleteOp(id, "k"),
			workflowstate.GetSessionOp(id+"-none"),
		))
		equal(t, len(results), 8)
		equal(t, results[0], workflowstate.Result{})
		same(t, "the entry", results[1].Entry.Value, "v")
		failure := fails(t, results[2].Err, workflowstate.ReasonRevisionMismatch)
		equal(t, failure.FailedChecks[0].ActualRevision, 1)
		equal(t, failure.Code.String(), "aborted")
		equal(t, failure.Message != "", true)
		equal(t, results[3].Committed.Revision, 2)
		same(t, "the entry", results[4].Entry.Value, 1.0)
		same(t, "the session", any(results[5].Session.State), any(object{"k": "v"}))
		equal(t, *results[6].Deletion, workflowstate.Deletion{Deleted: true, Revision: 3})
		equal(t, results[7], workflowstate.Result{})
	})
}

func TestABatchWithWhatCantBeSentIsNotSent(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	_, err := client.Batch(ctx, workflowstate.SetOp(id, "k", 1), nil)
	fails(t, err, workflowstate.ReasonInvalidRequest)
	_, err = client.Batch(ctx, workflowstate.SetOp(id, "k", 1), (*workflowstate.Commit)(nil))
	fails(t, err, workflowstate.ReasonInvalidRequest)
	_, err = client.Batch(ctx, workflowstate.SetOp(id, "k", 1), workflowstate.GetOp(id, "\xff"))
	fails(t, err, workflowstate.ReasonInvalidKey)
	equal(t, must[*workflowstate.Session](t)(client.GetSession(ctx, id)), nil)
}

func TestHistoryIsReadForkedAndRestored(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		for number := range 3 {
			must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", number))
		}
		forked := must[*workflowstate.Session](t)(
			client.ForkSession(ctx, id, id+"-fork", workflowstate.AtRevision(2)))
		same(t, "the fork", any(forked.State), any(object{"k": 1.0}))
		equal(t, *forked.ForkedFrom, workflowstate.ForkedFrom{SessionID: id, Revision: 2})
		_, err := client.ForkSession(ctx, id, id+"-fork")
		fails(t, err, workflowstate.ReasonSessionExists)
		_, err = client.ForkSession(ctx, id+"-none", id+"-new")
		equal(t, fails(t, err, workflowstate.ReasonSessionNotFound).Code.String(), "not_found")

		must[bool](t)(client.DeleteSession(ctx, id))
		restored := must[*workflowstate.Session](t)(client.RestoreSession(ctx, id, 1))
		same(t, "what was restored", any(restored.State), any(object{"k": 0.0}))
		_, err = client.RestoreSession(ctx, id, 1, workflowstate.IfRevision(99))
		fails(t, err, workflowstate.ReasonRevisionMismatch)
		_, err = client.GetSession(ctx, id, workflowstate.AtRevision(99))
		equal(t, fails(t, err, workflowstate.ReasonFutureRevision).Metadata["current_revision"], "5")

		events := func(options ...workflowstate.ListEventsOption) string {
			var found []string
			for event, err := range client.ListEvents(ctx, id, options...) {
				noError(t, err)
				found = append(found, fmt.Sprint(event.Revision, " ", event.Kind, " ", len(event.Entries)))
			}
			return strings.Join(found, ", ")
		}
		all := "1 COMMITTED 1, 2 COMMITTED 1, 3 COMMITTED 1, 4 DELETED 0, 5 RESTORED 1"
		equal(t, events(), all)
		equal(t, events(workflowstate.PageSize(2)), all)
		equal(t, events(workflowstate.AfterRevision(3)), "4 DELETED 0, 5 RESTORED 1")
		equal(t, events(workflowstate.Reverse(true), workflowstate.AfterRevision(4)), "5 RESTORED 1")
	})
}

func TestASessionTooLargeForOneAnswerIsReadInPages(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	for number := range 6 {
		large := strings.Repeat(string(rune('a'+number)), 1_000_000)
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, fmt.Sprint(number), large))
	}
	_, err := client.GetSession(ctx, id)
	fails(t, err, workflowstate.ReasonSessionTooLarge)
	forked := must[*workflowstate.Session](t)(client.ForkSession(ctx, id, id+"-fork"))
	equal(t, len(forked.State), 6)
	noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
		equal(t, draft.Len(), 6)
		draft.Set("first", draft.Get("0").(string)[:1])
		return nil
	}))
	same(t, "what an update made of it", must[any](t)(client.GetState(ctx, id, "first")), "a")
	restored := must[*workflowstate.Session](t)(client.RestoreSession(ctx, id, 6))
	equal(t, len(restored.State), 6)
	equal(t, len(restored.State["5"].(string)), 1_000_000)
}
