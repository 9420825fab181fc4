package workflowstate_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	connectrpc "connectrpc.com/connect"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// follow gives what a watch says until so many messages that are no progress have come.
func follow(t *testing.T, watch iter.Seq2[workflowstate.WatchMessage, error], count int) string {
	t.Helper()
	var said []string
	for message, err := range watch {
		noError(t, err)
		switch {
		case message.Snapshot != nil:
			equal(t, message.Revision, message.Snapshot.Revision)
			said = append(said, fmt.Sprintf("snapshot of %d at %d", len(message.Snapshot.State), message.Revision))
		case message.Event != nil:
			equal(t, message.Revision, message.Event.Revision)
			keys := ""
			for _, entry := range message.Event.Entries {
				keys += " " + entry.Key
				if entry.Deleted {
					keys += " deleted"
				}
			}
			said = append(said, fmt.Sprintf("%d %s%s", message.Revision, message.Event.Kind, keys))
		}
		if len(said) == count {
			break
		}
	}
	return strings.Join(said, ", ")
}

func TestAWatchGivesASnapshotAndThenEvents(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		equal(t, follow(t, client.WatchSession(ctx, id), 1), "snapshot of 0 at 0")
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, "a/1", 1))
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, "b", 1))
		must[*workflowstate.Deletion](t)(client.DeleteState(ctx, id, "a/1"))
		must[bool](t)(client.DeleteSession(ctx, id))
		equal(t, follow(t, client.WatchSession(ctx, id, workflowstate.AfterRevision(0)), 4),
			"1 COMMITTED a/1, 2 COMMITTED b, 3 COMMITTED a/1 deleted, 4 DELETED")
		equal(t, follow(t, client.WatchSession(ctx, id, workflowstate.AfterRevision(0),
			workflowstate.KeyPrefix("a/")), 3), "1 COMMITTED a/1, 3 COMMITTED a/1 deleted, 4 DELETED")
		watched := make(chan string)
		go func() { watched <- follow(t, client.WatchSession(ctx, id, workflowstate.AfterRevision(4)), 1) }()
		must[*workflowstate.Session](t)(client.RestoreSession(ctx, id, 2))
		equal(t, <-watched, "5 RESTORED a/1 b")
	})
}

func TestAWatchThatCantGoOnSaysWhy(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	for _, err := range client.WatchSession(ctx, id, workflowstate.AfterRevision(7)) {
		fails(t, err, workflowstate.ReasonFutureRevision)
	}
	for _, err := range client.WatchSession(ctx, "") {
		fails(t, err, workflowstate.ReasonInvalidSessionID)
	}
}

func TestAWatchOutlivesLostConnectionsWithoutAGap(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxied(t, shared.address())
			watcher := connect(t, proxy.url, quick, workflowstate.WithProtocol(protocol))
			writer, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
			const writes = 100
			// The writer goes on when the watcher has cut the connection.
			cut := make(chan bool, writes)
			var writing sync.WaitGroup
			defer writing.Wait()
			writing.Go(func() {
				for number := range writes {
					if number%10 == 0 {
						<-cut
					}
					if _, err := writer.Commit(ctx, workflowstate.NewCommit(id).Increment("n", 1)); err != nil {
						t.Error(err)
					}
				}
			})
			last := int64(-1)
			for message, err := range watcher.WatchSession(ctx, id) {
				noError(t, err)
				equal(t, message.Snapshot != nil, last < 0)
				if message.Event != nil {
					equal(t, message.Revision, last+1)
				}
				if message.Revision == last {
					// Nothing new.
					continue
				}
				if last = message.Revision; last == writes {
					break
				}
				if last%10 == 0 {
					proxy.cut()
					cut <- true
				}
			}
			equal(t, proxy.connections.Load() > 5, true)
		})
	}
}

// watched gives a service whose watches are played by functions, one after the other, the last of them again
// and again.
func watched(
	t *testing.T, plays ...func(after *int64, send func(*statev1.WatchSessionResponse), silent func()),
) string {
	var calls atomic.Int64
	return (&answering{watch: func(
		ctx context.Context,
		request *statev1.WatchSessionRequest,
		stream *connectrpc.ServerStream[statev1.WatchSessionResponse],
	) error {
		play := plays[min(int(calls.Add(1)), len(plays))-1]
		play(request.AfterRevision, func(message *statev1.WatchSessionResponse) { _ = stream.Send(message) },
			func() { <-ctx.Done() })
		return nil
	}}).start(t)
}

func snapshot(revision int64) *statev1.WatchSessionResponse {
	session := &statev1.Session{Revision: revision}
	return &statev1.WatchSessionResponse{Message: &statev1.WatchSessionResponse_Snapshot{Snapshot: session}}
}

func event(revision int64) *statev1.WatchSessionResponse {
	made := &statev1.Event{Revision: revision, Kind: statev1.EventKind_EVENT_KIND_COMMITTED}
	return &statev1.WatchSessionResponse{Message: &statev1.WatchSessionResponse_Event{Event: made}}
}

func TestASilentWatchConnectsAnew(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var resumed atomic.Int64
			url := watched(t, func(after *int64, send func(*statev1.WatchSessionResponse), silent func()) {
				switch {
				case after == nil:
					send(snapshot(7))
					silent()
				case resumed.Add(1) == 1:
					// Not even an answer.
					silent()
				default:
					// A kind that is not known yet, then what is new.
					send(&statev1.WatchSessionResponse{})
					send(event(*after + 1))
				}
			})
			client := connect(t, url, quick, workflowstate.WithProtocol(protocol), workflowstate.WithSilence(time.Second))
			equal(t, follow(t, client.WatchSession(context.Background(), "s"), 2), "snapshot of 0 at 7, 8 COMMITTED")
		})
	}
}

func TestSilenceIsTheServicesNotTheReaders(t *testing.T) {
	var calls atomic.Int64
	url := watched(t, func(_ *int64, send func(*statev1.WatchSessionResponse), silent func()) {
		calls.Add(1)
		for revision := range int64(3) {
			send(event(revision))
		}
		silent()
	})
	client := connect(t, url, quick, workflowstate.WithSilence(time.Second))
	for message, err := range client.WatchSession(context.Background(), "s") {
		noError(t, err)
		time.Sleep(1300 * time.Millisecond)
		if message.Revision == 2 {
			break
		}
	}
	equal(t, calls.Load(), 1)
}

func TestAWatchGoesOnAfterTheLastProgress(t *testing.T) {
	url := watched(t,
		func(_ *int64, send func(*statev1.WatchSessionResponse), _ func()) {
			send(&statev1.WatchSessionResponse{Message: &statev1.WatchSessionResponse_Progress{
				Progress: &statev1.Progress{Revision: 41},
			}})
		},
		func(after *int64, send func(*statev1.WatchSessionResponse), _ func()) { send(event(*after + 1)) },
	)
	var revisions []int64
	for message, err := range connect(t, url, quick).WatchSession(context.Background(), "s") {
		noError(t, err)
		equal(t, message.Snapshot, nil)
		if revisions = append(revisions, message.Revision); message.Event != nil {
			break
		}
	}
	equal(t, fmt.Sprint(revisions), "[41 42]")
}

func TestAStreamEndsWithItsContextOrItsClient(t *testing.T) {
	endless := func(yield func([]workflowstate.Operation) bool) {
		time.Sleep(time.Second)
		yield([]workflowstate.Operation{workflowstate.GetOp("s", "k")})
	}
	for name, stream := range map[string]func(context.Context, *workflowstate.Client) error{
		"a watch on a session": func(ctx context.Context, client *workflowstate.Client) error {
			for _, err := range client.WatchSession(ctx, "s") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"a watch on sessions": func(ctx context.Context, client *workflowstate.Client) error {
			for _, err := range client.WatchSessions(ctx, workflowstate.UserID("nobody")) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"a pipeline": func(ctx context.Context, client *workflowstate.Client) error {
			for _, err := range client.Pipeline(ctx, endless) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(200*time.Millisecond, cancel)
			err := stream(ctx, connect(t, shared.url))
			fails(t, err, workflowstate.ReasonStoreUnavailable)
			equal(t, errors.Is(err, context.Canceled), true)

			ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			err = stream(ctx, connect(t, shared.url))
			fails(t, err, workflowstate.ReasonStoreUnavailable)
			equal(t, errors.Is(err, context.DeadlineExceeded), true)

			client := connect(t, shared.url)
			time.AfterFunc(200*time.Millisecond, func() { _ = client.Close() })
			fails(t, stream(context.Background(), client), workflowstate.ReasonShuttingDown)
			fails(t, stream(context.Background(), client), workflowstate.ReasonShuttingDown)
		})
	}
}

func TestAWatchOnSessionsFollowsThoseThatMatch(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		id := newSession(t)
		go func() {
			// Until the watch has begun and seen enough.
			for number := 0; ctx.Err() == nil; number++ {
				_, _ = client.SetState(ctx, id+"-other", "k", number)
				_, _ = client.SaveSession(ctx, id, object{"k": number}, workflowstate.Labels{"test": id})
				_, _ = client.DeleteSession(ctx, id)
			}
		}()
		kinds := map[workflowstate.EventKind]bool{}
		for change, err := range client.WatchSessions(ctx, workflowstate.Labels{"test": id}) {
			noError(t, err)
			equal(t, change.Session.SessionID, id)
			equal(t, len(change.Session.State), 0)
			equal(t, change.Session.Labels["test"], id)
			kinds[change.Kind] = true
			if kinds[workflowstate.EventSaved] && kinds[workflowstate.EventDeleted] {
				break
			}
		}
		equal(t, len(kinds), 2)
	})
}

func TestAWatchOnSessionsEndsWithItsConnection(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url)
	done := make(chan struct{})
	defer close(done)
	go func() {
		// Not only once: a connection that ends before the call is on it is made anew, and nobody hears of it.
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
				proxy.cut()
			}
		}
	}()
	for _, err := range client.WatchSessions(context.Background(), workflowstate.UserID("nobody")) {
		fails(t, err, workflowstate.ReasonStoreUnavailable)
	}
}

func TestMoreStreamsThanAConnectionTakes(t *testing.T) {
	proxy := proxied(t, shared.address())
	client, ctx, id := connect(t, proxy.url), context.Background(), newSession(t)
	const watches = 120
	var begun, done sync.WaitGroup
	begun.Add(watches)
	for range watches {
		done.Go(func() {
			for message, err := range client.WatchSession(ctx, id) {
				if err != nil {
					t.Error(err)
				}
				if message.Snapshot != nil {
					begun.Done()
				}
				if err != nil || message.Event != nil {
					break
				}
			}
		})
	}
	begun.Wait()
	must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", 1))
	done.Wait()
	equal(t, proxy.connections.Load() > 1, true)
}

func TestAClosedClientLeavesNoConnection(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url)
	ended := make(chan error)
	go func() {
		for message, err := range client.WatchSession(context.Background(), "s") {
			if err != nil {
				ended <- err
			} else if message.Snapshot != nil {
				_ = client.Close()
			}
		}
	}()
	fails(t, <-ended, workflowstate.ReasonShuttingDown)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		proxy.mutex.Lock()
		open := len(proxy.open)
		proxy.mutex.Unlock()
		if open == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d connections are open", open)
		}
	}
}
