package workflowstate

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// How often an update is tried in all.
	updateAttempts = 50
	// The longest pause before another attempt.
	maxUpdatePause = 100 * time.Millisecond
)

// Update has a function change the session's state, and commits what it changed.
//
//	err := client.Update(ctx, "cart-1", func(ctx context.Context, cart *workflowstate.Draft) error {
//		total, _ := cart.Get("total").(float64)
//		cart.Set("total", total+1)
//		return nil
//	})
//
// The commit is made under checks on what the function looked at. On a conflict all is done again, 50 times
// at most, so the function may run several times: keep other effects out of it. A key that it changes is
// written whole and without an expiry. If it fails, nothing is written, and its error is given back. The
// timeout is of each call that is made.
//
// The updates of one session wait for each other within a client. So the function can't update the same
// session; it is told so if it passes on the context that it is given.
func (c *Client) Update(
	ctx context.Context, sessionID string, change func(ctx context.Context, draft *Draft) error,
) error {
	if change == nil {
		return invalid(ReasonInvalidRequest, "change", "Update needs a function that changes the draft.")
	}
	running := updating{client: c, sessionID: sessionID}
	if ctx.Value(running) != nil {
		return invalid(ReasonInvalidRequest, "change",
			"An update's function can't update the same session: it would wait for itself.")
	}
	done, err := c.turns.take(ctx, sessionID)
	if err != nil {
		return newError(ReasonStoreUnavailable, "The update's context ended before its turn.", err)
	}
	defer done()

	inner := context.WithValue(ctx, running, true)
	// The revision of the session that was heard of last, before its entries are read.
	var known int64
	for attempt := 1; ; attempt++ {
		err := c.updateOnce(ctx, inner, sessionID, known, change)
		conflicting, ok := err.(*conflict)
		if !ok {
			return err
		}
		if attempt >= updateAttempts || ctx.Err() != nil {
			return conflicting.failure
		}
		for _, check := range conflicting.failure.FailedChecks {
			if check.Key == "" {
				// Not the highest: the session may have been deleted.
				known = check.ActualRevision
			}
		}
		longest := min(maxUpdatePause, time.Millisecond<<min(attempt, 10))
		sleep(ctx, time.Duration(rand.Float64()*float64(longest)))
	}
}

// An updating is the key of a context within the function of an update.
type updating struct {
	client    *Client
	sessionID string
}

// A conflict is what has an update done again: others have written meanwhile.
type conflict struct{ failure *Error }

func (c *conflict) Error() string {
	return c.failure.Error()
}

func (c *Client) updateOnce(
	ctx, inner context.Context, sessionID string, known int64, change func(context.Context, *Draft) error,
) error {
	seen, revision, err := c.readAll(ctx, sessionID, known)
	if failure, ok := errors.AsType[*Error](err); ok && failure.Reason == ReasonHistoryCompacted {
		// Others have written so much between its pages.
		return &conflict{failure}
	}
	if err != nil {
		return err
	}
	draft := newDraft(seen)
	err = change(inner, draft)
	draft.closed = true
	if err != nil {
		return err
	}
	commit, err := draft.commit(sessionID, revision)
	if err != nil || commit == nil {
		return err
	}
	_, err = c.Commit(ctx, commit)
	if failure, ok := errors.AsType[*Error](err); ok && failure.Reason == ReasonRevisionMismatch {
		return &conflict{failure}
	}
	return err
}

// turns has a lock for each session, kept only while someone holds it or waits for it. A zero one is ready.
type turns struct {
	mutex sync.Mutex
	locks map[string]*turn
}

type turn struct {
	// Full while someone holds it.
	held    chan struct{}
	holders int
}

// take waits for the session's turn; the function that it gives ends it.
func (t *turns) take(ctx context.Context, sessionID string) (func(), error) {
	t.mutex.Lock()
	lock := t.locks[sessionID]
	if lock == nil {
		lock = &turn{held: make(chan struct{}, 1)}
		if t.locks == nil {
			t.locks = map[string]*turn{}
		}
		t.locks[sessionID] = lock
	}
	lock.holders++
	t.mutex.Unlock()
	leave := func() {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		if lock.holders--; lock.holders == 0 {
			delete(t.locks, sessionID)
		}
	}
	select {
	case lock.held <- struct{}{}:
		return func() {
			<-lock.held
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
