package workflowstate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

func TestAnUpdateChangesWhatItsFunctionChanged(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		must[*workflowstate.Session](t)(client.SaveSession(ctx, id,
			object{"same": object{"a": 1, "b": 2}, "in place": object{"a": list{1}}, "gone": 1, "unseen": 1}))
		noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
			draft.Set("same", object{"b": 2, "a": 1})
			draft.Get("in place").(object)["a"].(list)[0] = "changed"
			draft.Delete("gone")
			draft.Delete("never there")
			draft.Set("new", nil)
			draft.Set("back", 1)
			draft.Delete("back")
			if value, found := draft.Lookup("gone"); found || value != nil {
				t.Error("what was deleted is there")
			}
			if value, found := draft.Lookup("new"); !found || value != nil {
				t.Error("what was set is not there")
			}
			return nil
		}))
		session := must[*workflowstate.Session](t)(client.GetSession(ctx, id))
		same(t, "the state", any(session.State), any(object{
			"same": object{"a": 1.0, "b": 2.0}, "in place": object{"a": list{"changed"}}, "unseen": 1.0, "new": nil,
		}))
		equal(t, session.Revision, 2)
		for event, err := range client.ListEvents(ctx, id, workflowstate.AfterRevision(1)) {
			noError(t, err)
			// Not what was set to what it was.
			equal(t, len(event.Entries), 3)
		}
	})
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
		equal(t, draft.Get("k"), nil)
		equal(t, draft.Len(), 0)
		return nil
	}))
	equal(t, must[*workflowstate.Session](t)(client.GetSession(ctx, id)), nil)
	must[*workflowstate.Entry](t)(client.SetState(ctx, id, "n", 1))
	noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
		var number int
		found, err := draft.Decode("n", &number)
		equal(t, found && err == nil && number == 1, true)
		draft.Set("n", number)
		return nil
	}))
	equal(t, must[*workflowstate.Session](t)(client.GetSession(ctx, id)).Revision, 1)
}

func TestUpdatesAtOnceAreAllCounted(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		other := connect(t, shared.url)
		ctx, id := context.Background(), newSession(t)
		var group sync.WaitGroup
		for number := range 60 {
			group.Go(func() {
				by := []*workflowstate.Client{client, other}[number%2]
				err := by.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
					count, _ := draft.Get("n").(float64)
					draft.Set("n", count+1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		same(t, "n", must[any](t)(client.GetState(ctx, id, "n")), 60.0)
	})
}

func TestAnUpdateIsDoneAgainIfWhatItLookedAtHasChanged(t *testing.T) {
	for name, look := range map[string]func(*workflowstate.Draft){
		"by reading":       func(draft *workflowstate.Draft) { draft.Get("other") },
		"by looking":       func(draft *workflowstate.Draft) { draft.Lookup("other") },
		"by listing":       func(draft *workflowstate.Draft) { draft.Keys() },
		"by counting":      func(draft *workflowstate.Draft) { draft.Len() },
		"by iterating":     lookAtAll,
		"by deleting":      func(draft *workflowstate.Draft) { draft.Delete("other") },
		"by much of it":    lookAtMuch,
		"not, untouched":   func(*workflowstate.Draft) {},
		"not, another one": func(draft *workflowstate.Draft) { draft.Get("a third") },
	} {
		t.Run(name, func(t *testing.T) {
			client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
			must[*workflowstate.Entry](t)(client.SetState(ctx, id, "mine", 0))
			runs := 0
			noError(t, client.Update(ctx, id, func(ctx context.Context, draft *workflowstate.Draft) error {
				look(draft)
				if runs++; runs == 1 {
					// Somebody else.
					must[*workflowstate.Entry](t)(client.SetState(ctx, id, "other", "changed"))
				}
				draft.Set("mine", runs)
				return nil
			}))
			expected := 2
			if strings.HasPrefix(name, "not") {
				expected = 1
			}
			equal(t, runs, expected)
			same(t, "mine", must[any](t)(client.GetState(ctx, id, "mine")), float64(expected))
		})
	}
}

func lookAtAll(draft *workflowstate.Draft) {
	for key, value := range draft.All() {
		if value != draft.Get(key) {
			panic("a key has two values")
		}
	}
}

func lookAtMuch(draft *workflowstate.Draft) {
	for number := range 1001 {
		draft.Get(fmt.Sprint(number))
	}
}

func TestAnUpdateIsMadeAlsoOnceItsSessionIsDeleted(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", 1))
	runs := 0
	noError(t, client.Update(ctx, id, func(ctx context.Context, draft *workflowstate.Draft) error {
		count := draft.Len()
		// Somebody else.
		switch runs++; runs {
		case 1:
			must[*workflowstate.Entry](t)(client.SetState(ctx, id, "other", 1))
		case 2:
			must[bool](t)(client.DeleteSession(ctx, id))
		}
		draft.Set("count", count)
		return nil
	}))
	equal(t, runs, 3)
	same(t, "count", must[any](t)(client.GetState(ctx, id, "count")), 0.0)
}

func TestAnUpdateGivesUpWhenOthersAlwaysWin(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	runs := 0
	err := client.Update(ctx, id, func(ctx context.Context, draft *workflowstate.Draft) error {
		runs++
		draft.Get("k")
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", runs))
		draft.Set("mine", runs)
		return nil
	})
	fails(t, err, workflowstate.ReasonRevisionMismatch)
	equal(t, runs, 50)
}

func TestAnUpdateWhoseFunctionFailsWritesNothing(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	mine := &workflowstate.Error{Reason: workflowstate.ReasonRevisionMismatch}
	runs := 0
	err := client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
		runs++
		draft.Set("k", 1)
		return mine
	})
	// Not taken for a conflict.
	equal(t, err == error(mine) && runs == 1, true)
	equal(t, must[*workflowstate.Session](t)(client.GetSession(ctx, id)), nil)
	// A panic leaves the session to others.
	func() {
		defer func() { equal(t, recover(), any("oh")) }()
		_ = client.Update(ctx, id, func(context.Context, *workflowstate.Draft) error { panic("oh") })
	}()
	noError(t, client.Update(ctx, id, func(context.Context, *workflowstate.Draft) error { return nil }))
	fails(t, client.Update(ctx, id, nil), workflowstate.ReasonInvalidRequest)
}

func TestAnUpdateWithinItselfIsRefused(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	nothing := func(context.Context, *workflowstate.Draft) error { return nil }
	err := client.Update(ctx, id, func(ctx context.Context, _ *workflowstate.Draft) error {
		noError(t, client.Update(ctx, id+"-other", nothing))
		return client.Update(ctx, id, nothing)
	})
	fails(t, err, workflowstate.ReasonInvalidRequest)
	// Who does not pass the context on waits no longer than that context.
	err = client.Update(ctx, id, func(context.Context, *workflowstate.Draft) error {
		short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		return client.Update(short, id, nothing)
	})
	fails(t, err, workflowstate.ReasonStoreUnavailable)
	equal(t, errors.Is(err, context.DeadlineExceeded), true)
}

func TestADraftCantBeChangedWhenItsUpdateHasEnded(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	var kept *workflowstate.Draft
	noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
		kept = draft
		return nil
	}))
	defer func() { equal(t, recover() != nil, true) }()
	kept.Set("k", 1)
	t.Fatal("it was changed")
}

func TestAnUpdateOfAKeyThatCantBe(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	for _, key := range []string{"", strings.Repeat("x", 513), "\xff"} {
		// It can't be there.
		noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
			equal(t, draft.Get(key), nil)
			draft.Set("k", len(key))
			return nil
		}))
		err := client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
			draft.Set(key, 1)
			return nil
		})
		fails(t, err, workflowstate.ReasonInvalidKey)
	}
}
