package workflowstate_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"

	connectrpc "connectrpc.com/connect"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// increments gives batches that increment a key, so often.
func increments(id string, count int) iter.Seq[[]workflowstate.Operation] {
	return func(yield func([]workflowstate.Operation) bool) {
		for range count {
			commit := workflowstate.NewCommit(id).Increment("n", 1)
			if !yield([]workflowstate.Operation{commit, workflowstate.GetOp(id, "n")}) {
				return
			}
		}
	}
}

func TestAPipelineAnswersInOrder(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		id, count := newSession(t), 0
		for results, err := range client.Pipeline(context.Background(), increments(id, 500)) {
			noError(t, err)
			count++
			equal(t, len(results), 2)
			equal(t, results[0].Committed.Revision, int64(count))
			same(t, "n", results[1].Entry.Value, float64(count))
		}
		equal(t, count, 500)
		for range client.Pipeline(context.Background(), increments(id, 0)) {
			t.Fatal("nothing was answered")
		}
	})
}

func TestAPipelineOutlivesLostConnectionsAndCountsOnce(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxied(t, shared.address())
			client := connect(t, proxy.url, quick, workflowstate.WithProtocol(protocol))
			// What is sent first is done, and its answer lost.
			proxy.loseAnswers.Store(2)
			id, count := newSession(t), 0
			const batches = 200
			cut := make(chan bool, batches)
			inParts := func(yield func([]workflowstate.Operation) bool) {
				number := 0
				for batch := range increments(id, batches) {
					if !yield(batch) {
						return
					}
					if number++; number%20 == 0 {
						<-cut
					}
				}
			}
			for results, err := range client.Pipeline(context.Background(), inParts) {
				noError(t, err)
				count++
				equal(t, results[0].Committed.Revision, int64(count))
				if count%20 == 10 {
					// Some are under way.
					proxy.cut()
					cut <- true
				}
			}
			equal(t, count, batches)
			equal(t, proxy.connections.Load() > 5, true)
			same(t, "n", must[any](t)(client.GetState(context.Background(), id, "n")), float64(batches))
		})
	}
}

func TestAPipelineThatNobodyAnswersGivesUp(t *testing.T) {
	proxy := proxied(t, shared.address())
	client := connect(t, proxy.url, quick)
	proxy.refusing.Store(true)
	count := 0
	for _, err := range client.Pipeline(context.Background(), increments("s", 3)) {
		fails(t, err, workflowstate.ReasonOutcomeUnknown)
		count++
	}
	equal(t, count, 1)
	reads := func(yield func([]workflowstate.Operation) bool) {
		yield([]workflowstate.Operation{workflowstate.GetOp("s", "k")})
	}
	for _, err := range client.Pipeline(context.Background(), reads) {
		fails(t, err, workflowstate.ReasonStoreUnavailable)
	}
}

func TestARefusalLeavesWhatAnEarlierConnectionTookInDoubt(t *testing.T) {
	lost := connectrpc.NewError(connectrpc.CodeUnavailable, errors.New("lost"))
	for name, protocol := range protocols {
		for code, reason := range map[connectrpc.Code]workflowstate.Reason{
			connectrpc.CodeUnauthenticated:  workflowstate.ReasonUnauthenticated,
			connectrpc.CodePermissionDenied: workflowstate.ReasonPermissionDenied,
		} {
			t.Run(fmt.Sprint(name, " ", code), func(t *testing.T) {
				var calls atomic.Int64
				var answers, losses int64
				url := (&answering{pipeline: func(stream *pipelineStream) error {
					if calls.Add(1) > losses {
						return connectrpc.NewError(code, errors.New("not you any more"))
					}
					// Receives one more than it answers.
					for range answers {
						if _, err := stream.Receive(); err != nil {
							return err
						}
						response := &statev1.PipelineResponse{Results: []*statev1.Result{{}}}
						if err := stream.Send(response); err != nil {
							return err
						}
					}
					_, _ = stream.Receive()
					return lost
				}}).start(t)
				client := connect(t, url, quick, workflowstate.WithProtocol(protocol))
				run := func(lossesFirst, answersFirst int64, batches ...workflowstate.Operation) (int, error) {
					calls.Store(0)
					losses, answers = lossesFirst, answersFirst
					count := 0
					for _, err := range client.Pipeline(context.Background(), func(
						yield func([]workflowstate.Operation) bool,
					) {
						for _, operation := range batches {
							if !yield([]workflowstate.Operation{operation}) {
								return
							}
						}
					}) {
						if err != nil {
							return count, err
						}
						count++
					}
					return count, nil
				}
				write, read := workflowstate.SetOp("s", "k", 1), workflowstate.GetOp("s", "k")
				_, err := run(1, 0, write)
				failure := fails(t, err, workflowstate.ReasonOutcomeUnknown)
				equal(t, workflowstate.ReasonOf(errors.Unwrap(failure)), reason)
				// What was answered is in no doubt, nor is what nobody else took, nor what only reads.
				count, err := run(1, 1, write, read)
				fails(t, err, reason)
				equal(t, count, 1)
				_, err = run(0, 0, write)
				fails(t, err, reason)
				_, err = run(1, 0, read)
				fails(t, err, reason)
			})
		}
	}
}

func TestAPipelineEndsWithAnAnswerThatIsNone(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			url := (&answering{pipeline: func(stream *pipelineStream) error {
				calls.Add(1)
				for {
					if _, err := stream.Receive(); err != nil {
						return nil
					}
					if err := stream.Send(&statev1.PipelineResponse{}); err != nil {
						return err
					}
				}
			}}).start(t)
			client := connect(t, url, quick, workflowstate.WithProtocol(protocol))
			for reason, operation := range map[workflowstate.Reason]workflowstate.Operation{
				workflowstate.ReasonStoreUnavailable: workflowstate.GetOp("s", "k"),
				workflowstate.ReasonOutcomeUnknown:   workflowstate.SetOp("s", "k", 1),
			} {
				calls.Store(0)
				count := 0
				for _, err := range client.Pipeline(context.Background(), func(
					yield func([]workflowstate.Operation) bool,
				) {
					yield([]workflowstate.Operation{operation})
				}) {
					fails(t, err, reason)
					count++
				}
				equal(t, count, 1)
				equal(t, calls.Load(), 1)
			}
		})
	}
}

func TestABatchThatCantBeSentEndsThePipelineAfterTheOthers(t *testing.T) {
	client, id := connect(t, shared.url), newSession(t)
	batches := func(yield func([]workflowstate.Operation) bool) {
		for _, value := range []any{1, 2, make(chan int), 3} {
			if !yield([]workflowstate.Operation{workflowstate.SetOp(id, "k", value)}) {
				return
			}
		}
	}
	var revisions []int64
	var failure error
	for results, err := range client.Pipeline(context.Background(), batches) {
		if failure = err; err == nil {
			revisions = append(revisions, results[0].Entry.Revision)
		}
	}
	fails(t, failure, workflowstate.ReasonInvalidValue)
	equal(t, fmt.Sprint(revisions), "[1 2]")
}

func TestAPipelineThatIsLeftTakesNoMoreBatches(t *testing.T) {
	client, id := connect(t, shared.url), newSession(t)
	var group sync.WaitGroup
	group.Add(1)
	batches := func(yield func([]workflowstate.Operation) bool) {
		defer group.Done()
		for batch := range increments(id, 1_000_000) {
			if !yield(batch) {
				return
			}
		}
	}
	for _, err := range client.Pipeline(context.Background(), batches) {
		noError(t, err)
		break
	}
	group.Wait()
}
