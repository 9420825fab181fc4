package workflowstate_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	connectrpc "connectrpc.com/connect"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

var quick = workflowstate.WithRetry(workflowstate.Retry{Attempts: 5, Base: 5 * time.Millisecond})

func TestAWriteWhoseAnswerIsLostIsDoneOnce(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			proxy := proxied(t, shared.address())
			client := connect(t, proxy.url, quick, workflowstate.WithProtocol(protocol))
			ctx, id := context.Background(), newSession(t)
			for range 5 {
				proxy.loseAnswers.Store(2)
				must[*workflowstate.Committed](t)(client.Commit(ctx, workflowstate.NewCommit(id).Increment("n", 1)))
				proxy.loseAnswers.Store(1)
				must[[]workflowstate.Result](t)(client.Batch(ctx, workflowstate.NewCommit(id).Increment("n", 1)))
			}
			same(t, "n", must[any](t)(client.GetState(ctx, id, "n")), 10.0)
			equal(t, proxy.connections.Load() > 15, true)
		})
	}
}

func TestAWriteOfWhichNoAnswerComesIsOutcomeUnknown(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url, workflowstate.WithRetry(workflowstate.Retry{Attempts: 3, Base: 1}))
	ctx, id := context.Background(), newSession(t)
	proxy.loseAnswers.Store(1000)
	_, err := client.SetState(ctx, id, "k", 1)
	fails(t, err, workflowstate.ReasonOutcomeUnknown)
	_, err = client.GetState(ctx, id, "k")
	fails(t, err, workflowstate.ReasonStoreUnavailable)
	proxy.loseAnswers.Store(0)
	// It was made.
	same(t, "k", must[any](t)(client.GetState(ctx, id, "k")), 1.0)
}

func TestAWriteThatNeverLeftIsNotInDoubt(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url, quick)
	_ = proxy.listener.Close()
	begin := time.Now()
	_, err := client.SetState(context.Background(), "s", "k", 1)
	failure := fails(t, err, workflowstate.ReasonStoreUnavailable)
	equal(t, errors.Is(failure, syscall.ECONNREFUSED), true)
	equal(t, strings.Contains(failure.Error(), "connection refused"), true)
	// With pauses between its attempts: at least half of 5, 10, 20 and 40 ms.
	equal(t, time.Since(begin) > 37*time.Millisecond, true)
}

func TestAnAttemptThatNeverLeftLeavesAnEarlierOneInDoubt(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url)
	proxy.loseAnswers.Store(1000)
	go func() {
		for proxy.loseAnswers.Load() == 1000 {
			time.Sleep(time.Millisecond)
		}
		_ = proxy.listener.Close()
	}()
	_, err := client.SetState(context.Background(), newSession(t), "k", 1)
	fails(t, err, workflowstate.ReasonOutcomeUnknown)
}

func TestOnlyUnavailableIsTriedAgain(t *testing.T) {
	var mutex sync.Mutex
	var ids []string
	code := connectrpc.CodeUnavailable
	url := (&answering{
		set: func(_ context.Context, request *statev1.SetStateRequest) (*statev1.SetStateResponse, error) {
			mutex.Lock()
			defer mutex.Unlock()
			ids = append(ids, request.GetRequestId())
			if len(ids) == 4 {
				return &statev1.SetStateResponse{Entry: &statev1.Entry{Key: "k", Revision: 7}}, nil
			}
			return nil, connectrpc.NewError(code, errors.New("not now"))
		},
	}).start(t)
	client := connect(t, url, quick)
	equal(t, must[*workflowstate.Entry](t)(client.SetState(context.Background(), "s", "k", 1)).Revision, 7)
	// One request id for the call.
	equal(t, len(ids), 4)
	equal(t, len(ids[0]), 32)
	equal(t, ids[0] == ids[1] && ids[1] == ids[2] && ids[2] == ids[3], true)

	ids, code = nil, connectrpc.CodeInvalidArgument
	_, err := client.SetState(context.Background(), "s", "k", 1)
	fails(t, err, workflowstate.ReasonInvalidRequest)
	equal(t, len(ids), 1)
}

func TestWhatIsDecidedBeforeTheStoreLeavesAWriteInDoubt(t *testing.T) {
	calls := 0
	url := (&answering{
		set: func(context.Context, *statev1.SetStateRequest) (*statev1.SetStateResponse, error) {
			calls++
			if calls == 1 {
				return nil, connectrpc.NewError(connectrpc.CodeUnavailable, errors.New("not now"))
			}
			return nil, connectrpc.NewError(connectrpc.CodeUnauthenticated, errors.New("not you any more"))
		},
	}).start(t)
	_, err := connect(t, url, quick).SetState(context.Background(), "s", "k", 1)
	failure := fails(t, err, workflowstate.ReasonOutcomeUnknown)
	equal(t, workflowstate.ReasonOf(errors.Unwrap(failure)), workflowstate.ReasonUnauthenticated)
	equal(t, calls, 2)
}

func TestADeadlineIsForTheCallWithAllItsAttempts(t *testing.T) {
	for name, call := range map[string]struct {
		do     func(context.Context, *workflowstate.Client) error
		reason workflowstate.Reason
	}{
		"read": {func(ctx context.Context, client *workflowstate.Client) error {
			_, err := client.GetState(ctx, "s", "k")
			return err
		}, workflowstate.ReasonStoreUnavailable},
		"write": {func(ctx context.Context, client *workflowstate.Client) error {
			_, err := client.SetState(ctx, "s", "k", 1)
			return err
		}, workflowstate.ReasonOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxied(t, shared.address())
			limited := connect(t, proxy.url, workflowstate.WithTimeout(time.Second))
			client := connect(t, proxy.url)
			for _, each := range []*workflowstate.Client{limited, client} {
				patient, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				must[any](t)(each.GetState(patient, "s", "k"))
			}
			proxy.blackHole.Store(true)
			begin := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err := call.do(ctx, client)
			fails(t, err, call.reason)
			equal(t, errors.Is(err, context.DeadlineExceeded), true)

			// Without a deadline in the context, the client's timeout.
			err = call.do(context.Background(), limited)
			fails(t, err, call.reason)
			equal(t, errors.Is(err, context.DeadlineExceeded), true)
			took := time.Since(begin)
			equal(t, took >= 1990*time.Millisecond && took < 20*time.Second, true)

			// Cancelled.
			ctx, cancel = context.WithCancel(context.Background())
			before := proxy.swallowed.Load()
			go func() {
				until(func() bool { return proxy.swallowed.Load() > before })
				cancel()
			}()
			err = call.do(ctx, client)
			fails(t, err, call.reason)
			equal(t, errors.Is(err, context.Canceled), true)
		})
	}
}

func TestADeadlineThatHasPassedSendsNothing(t *testing.T) {
	client, id := connect(t, shared.url), newSession(t)
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := client.SetState(ctx, id, "k", 1)
	fails(t, err, workflowstate.ReasonStoreUnavailable)
	equal(t, errors.Is(err, context.DeadlineExceeded), true)
	equal(t, must[*workflowstate.Session](t)(client.GetSession(context.Background(), id)), nil)
}

func TestAServiceThatDiesAndComesBackIsFoundAgain(t *testing.T) {
	first := running(t)
	client := connect(t, first.url, workflowstate.WithTimeout(time.Minute),
		workflowstate.WithRetry(workflowstate.Retry{Attempts: 1000, Most: 200 * time.Millisecond}))
	ctx := context.Background()
	must[*workflowstate.Entry](t)(client.SetState(ctx, "s", "k", 1))
	first.end(syscall.SIGKILL)
	done := make(chan error)
	go func() {
		_, err := client.SetState(ctx, "s", "k", 2)
		done <- err
	}()
	second, err := startServiceAt(first.address())
	noError(t, err)
	t.Cleanup(func() { second.end(syscall.SIGTERM) })
	noError(t, <-done)
	same(t, "k", must[any](t)(client.GetState(ctx, "s", "k")), 2.0)
}

func TestAClosedClientEndsItsCalls(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url)
	must[any](t)(client.GetState(context.Background(), "s", "k"))
	proxy.blackHole.Store(true)
	go func() {
		until(func() bool { return proxy.swallowed.Load() > 0 })
		_ = client.Close()
	}()
	_, err := client.SetState(context.Background(), "s", "k", 1)
	equal(t, fails(t, err, workflowstate.ReasonOutcomeUnknown).Message, "This client was closed.")
	_, err = client.SetState(context.Background(), "s", "k", 1)
	equal(t, fails(t, err, workflowstate.ReasonStoreUnavailable).Message, "This client was closed.")
	noError(t, client.Close())
}

func TestManyGoroutinesShareAClient(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		var group sync.WaitGroup
		for range 300 {
			group.Go(func() {
				if _, err := client.Commit(ctx, workflowstate.NewCommit(id).Increment("n", 1)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		same(t, "n", must[any](t)(client.GetState(ctx, id, "n")), 300.0)
	})
}
