package workflowstate_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"

	connectrpc "connectrpc.com/connect"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// one gives a batch for each operation.
func one(operations ...workflowstate.Operation) iter.Seq[[]workflowstate.Operation] {
	return func(yield func([]workflowstate.Operation) bool) {
		for _, operation := range operations {
			if !yield([]workflowstate.Operation{operation}) {
				return
			}
		}
	}
}

// ending runs a pipeline to its end; gives how many batches were answered, and its error.
func ending(client *workflowstate.Client, batches iter.Seq[[]workflowstate.Operation]) (int, error) {
	count := 0
	for _, err := range client.Pipeline(context.Background(), batches) {
		if err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// refusal gives an error of the service's with a reason.
func refusal(t *testing.T, code connectrpc.Code, reason statev1.ErrorReason) error {
	t.Helper()
	status := connectrpc.NewError(code, errors.New("as it says"))
	detail, err := connectrpc.NewErrorDetail(&statev1.ErrorDetail{Reason: reason})
	noError(t, err)
	status.AddDetail(detail)
	return status
}

func TestARefusalInThePipelineLeavesWhatItsConnectionTookInDoubt(t *testing.T) {
	for name, protocol := range protocols {
		for code, reason := range map[connectrpc.Code]workflowstate.Reason{
			connectrpc.CodeUnauthenticated:  workflowstate.ReasonUnauthenticated,
			connectrpc.CodePermissionDenied: workflowstate.ReasonPermissionDenied,
		} {
			t.Run(fmt.Sprint(name, " ", code), func(t *testing.T) {
				var calls atomic.Int64
				url := (&answering{pipeline: func(stream *pipelineStream) error {
					calls.Add(1)
					if _, err := stream.Receive(); err != nil {
						return err
					}
					response := &statev1.PipelineResponse{Results: []*statev1.Result{{}}}
					if err := stream.Send(response); err != nil {
						return err
					}
					// The second it does, and can't say so any more.
					_, _ = stream.Receive()
					return connectrpc.NewError(code, errors.New("not you any more"))
				}}).start(t)
				client := connect(t, url, quick, workflowstate.WithProtocol(protocol))
				write, read := workflowstate.SetOp("s", "k", 1), workflowstate.GetOp("s", "k")
				count, err := ending(client, one(read, write))
				failure := fails(t, err, workflowstate.ReasonOutcomeUnknown)
				equal(t, workflowstate.ReasonOf(errors.Unwrap(failure)), reason)
				equal(t, count, 1)
				// What was answered is in no doubt.
				count, err = ending(client, one(write, read))
				fails(t, err, reason)
				equal(t, count, 1)
				equal(t, calls.Load(), 2)
			})
		}
	}
}

func TestAPipelineThatNeverLeftIsNotInDoubt(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			proxy := proxied(t, shared.address())
			_ = proxy.listener.Close()
			client := connect(t, proxy.url, quick, workflowstate.WithProtocol(protocol))
			_, err := ending(client, one(workflowstate.SetOp("s", "k", 1)))
			fails(t, err, workflowstate.ReasonStoreUnavailable)
		})
	}
}

func TestAWriteThatWasMadeIsNotReportedAsRefused(t *testing.T) {
	for name, protocol := range protocols {
		for reason, refused := range map[workflowstate.Reason]error{
			workflowstate.ReasonUnauthenticated: refusal(t, connectrpc.CodeUnauthenticated,
				statev1.ErrorReason_ERROR_REASON_UNAUTHENTICATED),
			workflowstate.ReasonPermissionDenied: refusal(t, connectrpc.CodePermissionDenied,
				statev1.ErrorReason_ERROR_REASON_PERMISSION_DENIED),
			workflowstate.ReasonRateLimited: refusal(t, connectrpc.CodeResourceExhausted,
				statev1.ErrorReason_ERROR_REASON_RATE_LIMITED),
			workflowstate.ReasonInvalidRequest: connectrpc.NewError(connectrpc.CodeNotFound, errors.New("a proxy's")),
			workflowstate.ReasonHistoryCompacted: refusal(t, connectrpc.CodeOutOfRange,
				statev1.ErrorReason_ERROR_REASON_HISTORY_COMPACTED),
		} {
			t.Run(fmt.Sprint(name, " ", reason), func(t *testing.T) {
				url := (&answering{
					fork: func(context.Context, *statev1.ForkSessionRequest) (*statev1.ForkSessionResponse, error) {
						// Its state does not fit into the answer.
						session := &statev1.Session{SessionId: "fork", Revision: 1}
						return &statev1.ForkSessionResponse{Session: session}, nil
					},
					list: func(context.Context, *statev1.ListStateRequest) (*statev1.ListStateResponse, error) {
						return nil, refused
					},
				}).start(t)
				client := connect(t, url, quick, workflowstate.WithProtocol(protocol))
				_, err := client.ForkSession(context.Background(), "s", "fork")
				if reason == workflowstate.ReasonHistoryCompacted {
					fails(t, err, reason)
					return
				}
				failure := fails(t, err, workflowstate.ReasonOutcomeUnknown)
				equal(t, workflowstate.ReasonOf(errors.Unwrap(failure)), reason)
			})
		}
	}
}

func TestWhatAProxyRefusesLeavesALostWriteInDoubt(t *testing.T) {
	for name, protocol := range protocols {
		for code, reason := range map[connectrpc.Code]workflowstate.Reason{
			connectrpc.CodeUnimplemented:     workflowstate.ReasonOutcomeUnknown,
			connectrpc.CodeNotFound:          workflowstate.ReasonOutcomeUnknown,
			connectrpc.CodeResourceExhausted: workflowstate.ReasonOutcomeUnknown,
			connectrpc.CodeInvalidArgument:   workflowstate.ReasonInvalidRequest,
		} {
			t.Run(fmt.Sprint(name, " ", code), func(t *testing.T) {
				calls := 0
				url := (&answering{
					set: func(context.Context, *statev1.SetStateRequest) (*statev1.SetStateResponse, error) {
						if calls++; calls == 1 {
							return nil, connectrpc.NewError(connectrpc.CodeUnavailable, errors.New("lost"))
						}
						return nil, connectrpc.NewError(code, errors.New("a proxy's"))
					},
				}).start(t)
				client := connect(t, url, quick, workflowstate.WithProtocol(protocol))
				_, err := client.SetState(context.Background(), "s", "k", 1)
				fails(t, err, reason)
				equal(t, calls, 2)
			})
		}
	}
	// With its reason it is the store's word.
	calls := 0
	url := (&answering{
		set: func(context.Context, *statev1.SetStateRequest) (*statev1.SetStateResponse, error) {
			if calls++; calls == 1 {
				return nil, connectrpc.NewError(connectrpc.CodeUnavailable, errors.New("lost"))
			}
			return nil, refusal(t, connectrpc.CodeResourceExhausted, statev1.ErrorReason_ERROR_REASON_STORAGE_FULL)
		},
	}).start(t)
	_, err := connect(t, url, quick).SetState(context.Background(), "s", "k", 1)
	fails(t, err, workflowstate.ReasonStorageFull)
}
