package workflowstate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	connectrpc "connectrpc.com/connect"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
	"github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1/statev1connect"
)

// An answering is a service that says what the real one won't.
type answering struct {
	statev1connect.UnimplementedWorkflowStateServiceHandler
	set   func(context.Context, *statev1.SetStateRequest) (*statev1.SetStateResponse, error)
	get   func(context.Context, *statev1.GetStateRequest) (*statev1.GetStateResponse, error)
	batch func(context.Context, *statev1.BatchRequest) (*statev1.BatchResponse, error)
	fork  func(context.Context, *statev1.ForkSessionRequest) (*statev1.ForkSessionResponse, error)
	list  func(context.Context, *statev1.ListStateRequest) (*statev1.ListStateResponse, error)
	watch func(
		context.Context, *statev1.WatchSessionRequest, *connectrpc.ServerStream[statev1.WatchSessionResponse],
	) error
	pipeline func(*pipelineStream) error
}

type pipelineStream = connectrpc.BidiStream[statev1.PipelineRequest, statev1.PipelineResponse]

func (a *answering) SetState(
	ctx context.Context, request *statev1.SetStateRequest,
) (*statev1.SetStateResponse, error) {
	return a.set(ctx, request)
}

func (a *answering) GetState(
	ctx context.Context, request *statev1.GetStateRequest,
) (*statev1.GetStateResponse, error) {
	return a.get(ctx, request)
}

func (a *answering) Batch(
	ctx context.Context, request *statev1.BatchRequest,
) (*statev1.BatchResponse, error) {
	return a.batch(ctx, request)
}

func (a *answering) ForkSession(
	ctx context.Context, request *statev1.ForkSessionRequest,
) (*statev1.ForkSessionResponse, error) {
	return a.fork(ctx, request)
}

func (a *answering) ListState(
	ctx context.Context, request *statev1.ListStateRequest,
) (*statev1.ListStateResponse, error) {
	return a.list(ctx, request)
}

func (a *answering) WatchSession(
	ctx context.Context,
	request *statev1.WatchSessionRequest,
	stream *connectrpc.ServerStream[statev1.WatchSessionResponse],
) error {
	return a.watch(ctx, request, stream)
}

func (a *answering) Pipeline(_ context.Context, stream *pipelineStream) error {
	return a.pipeline(stream)
}

func (a *answering) start(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(statev1connect.NewWorkflowStateServiceHandler(a))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

func TestAnErrorIsFoundByErrorsAs(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", "a secret"))
		_, err := client.SetState(ctx, id, "k", "another secret", workflowstate.IfRevision(0))
		wrapped := fmt.Errorf("while testing: %w", err)
		var failure *workflowstate.Error
		equal(t, errors.As(wrapped, &failure), true)
		equal(t, failure.Reason, workflowstate.ReasonRevisionMismatch)
		equal(t, failure.Code, connectrpc.CodeAborted)
		equal(t, failure.FailedChecks[0], workflowstate.FailedCheck{Key: "k", IfRevision: 0, ActualRevision: 1})
		equal(t, workflowstate.ReasonOf(wrapped), workflowstate.ReasonRevisionMismatch)
		equal(t, workflowstate.ReasonOf(errors.New("another")), "")
		equal(t, workflowstate.ReasonOf(nil), "")
		equal(t, strings.HasPrefix(err.Error(), "REVISION_MISMATCH: "), true)
		equal(t, strings.Contains(fmt.Sprintf("%v %+v", err, err), "secret"), false)
	})
}

func TestOfVeryManyFailedChecksTheFirstAreNamedAndAllAreCounted(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		commit := workflowstate.NewCommit(newSession(t)).Increment("n", 1)
		for number := range 300 {
			commit.Check(fmt.Sprintf("%04d%s", number, strings.Repeat("x", 100)), 1)
		}
		_, err := client.Commit(context.Background(), commit)
		failure := fails(t, err, workflowstate.ReasonRevisionMismatch)
		equal(t, failure.Metadata["failed_checks"], "300")
		if len(failure.FailedChecks) <= 20 {
			t.Errorf("only %d are named", len(failure.FailedChecks))
		}
	})
}

func TestWhatTheServiceRefusesHasItsReason(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		_, err := client.GetState(ctx, "", "k")
		equal(t, fails(t, err, workflowstate.ReasonInvalidSessionID).Metadata["field"], "session_id")
		_, err = client.GetState(ctx, id, "")
		fails(t, err, workflowstate.ReasonInvalidKey)
		_, err = client.SetState(ctx, id, "k", 1, workflowstate.IfRevision(-1))
		fails(t, err, workflowstate.ReasonInvalidRequest)
		_, err = client.RestoreSession(ctx, id, 1)
		fails(t, err, workflowstate.ReasonSessionNotFound)
	})
}

func TestTextThatIsNotUTF8IsRefusedBeforeItIsSent(t *testing.T) {
	client, ctx := connect(t, "http://127.0.0.1:1"), context.Background()
	const bad = "a\xff"
	expect := func(err error, reason workflowstate.Reason, field string) {
		t.Helper()
		equal(t, fails(t, err, reason).Metadata["field"], field)
	}
	_, err := client.GetState(ctx, bad, "k")
	expect(err, workflowstate.ReasonInvalidSessionID, "session_id")
	_, err = client.ForkSession(ctx, "a", bad)
	expect(err, workflowstate.ReasonInvalidSessionID, "new_session_id")
	_, err = client.SetState(ctx, "s", bad, 1)
	expect(err, workflowstate.ReasonInvalidKey, "key")
	_, err = client.SetState(ctx, "s", "k", 1, workflowstate.RequestID(bad))
	expect(err, workflowstate.ReasonInvalidRequest, "request_id")
	_, err = client.SaveSession(ctx, "s", object{bad: 1})
	expect(err, workflowstate.ReasonInvalidKey, "state")
	_, err = client.SaveSession(ctx, "s", nil, workflowstate.Labels{"a": bad})
	equal(t, fails(t, err, workflowstate.ReasonInvalidRequest).Reason, workflowstate.ReasonInvalidRequest)
	_, err = client.SaveSession(ctx, "s", nil, workflowstate.Labels{bad: "a"})
	expect(err, workflowstate.ReasonInvalidRequest, "labels")
	_, err = client.Commit(ctx, workflowstate.NewCommit("s").Check(bad, 0))
	expect(err, workflowstate.ReasonInvalidKey, "key")
	_, err = client.Commit(ctx, workflowstate.NewCommit("s").Delete(bad))
	expect(err, workflowstate.ReasonInvalidKey, "key")
	for _, err := range client.WatchSession(ctx, "s", workflowstate.KeyPrefix(bad)) {
		expect(err, workflowstate.ReasonInvalidRequest, "key_prefix")
	}
	for _, err := range client.WatchSessions(ctx, workflowstate.UserID(bad)) {
		expect(err, workflowstate.ReasonInvalidRequest, "user_id")
	}
}

func TestAStatusWithoutADetailIsUnderstoodByItsCode(t *testing.T) {
	var code connectrpc.Code
	calls := 0
	url := (&answering{
		set: func(context.Context, *statev1.SetStateRequest) (*statev1.SetStateResponse, error) {
			calls++
			return nil, connectrpc.NewError(code, errors.New("as it says"))
		},
		get: func(context.Context, *statev1.GetStateRequest) (*statev1.GetStateResponse, error) {
			calls++
			return nil, connectrpc.NewError(code, errors.New("as it says"))
		},
	}).start(t)
	for name, protocol := range protocols {
		client := connect(t, url, workflowstate.WithProtocol(protocol),
			workflowstate.WithRetry(workflowstate.Retry{Attempts: 2, Base: 1}))
		for given, expected := range map[connectrpc.Code]struct {
			read, write workflowstate.Reason
			calls       int
		}{
			connectrpc.CodeInvalidArgument:   {"INVALID_REQUEST", "INVALID_REQUEST", 1},
			connectrpc.CodeResourceExhausted: {"REQUEST_TOO_LARGE", "REQUEST_TOO_LARGE", 1},
			connectrpc.CodeUnauthenticated:   {"UNAUTHENTICATED", "UNAUTHENTICATED", 1},
			connectrpc.CodePermissionDenied:  {"PERMISSION_DENIED", "PERMISSION_DENIED", 1},
			connectrpc.CodeUnimplemented:     {"INVALID_REQUEST", "INVALID_REQUEST", 1},
			connectrpc.CodeNotFound:          {"INVALID_REQUEST", "INVALID_REQUEST", 1},
			connectrpc.CodeUnavailable:       {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", 2},
			connectrpc.CodeInternal:          {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", 2},
			connectrpc.CodeUnknown:           {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", 2},
		} {
			code, calls = given, 0
			_, err := client.GetState(context.Background(), "s", "k")
			fails(t, err, expected.read)
			equal(t, calls, expected.calls)
			_, err = client.SetState(context.Background(), "s", "k", 1)
			failure := fails(t, err, expected.write)
			if failure.Code != given && failure.Code != connectrpc.CodeUnavailable &&
				failure.Reason != workflowstate.ReasonInvalidRequest {
				t.Fatalf("%s: %v has the code %v", name, failure, failure.Code)
			}
		}
	}
}

func TestReasonsOfANewerServiceSurvive(t *testing.T) {
	code := connectrpc.CodeAborted
	calls := 0
	detail := &statev1.ErrorDetail{Reason: 99, Metadata: map[string]string{"new": "fact"}, Message: "in a batch"}
	url := (&answering{
		set: func(context.Context, *statev1.SetStateRequest) (*statev1.SetStateResponse, error) {
			calls++
			status := connectrpc.NewError(code, errors.New("something new"))
			packed, err := connectrpc.NewErrorDetail(detail)
			noError(t, err)
			status.AddDetail(packed)
			return nil, status
		},
		batch: func(context.Context, *statev1.BatchRequest) (*statev1.BatchResponse, error) {
			return &statev1.BatchResponse{Results: []*statev1.Result{
				{Result: &statev1.Result_Error{Error: detail}},
			}}, nil
		},
	}).start(t)
	for _, protocol := range protocols {
		client := connect(t, url, workflowstate.WithProtocol(protocol),
			workflowstate.WithRetry(workflowstate.Retry{Attempts: 3, Base: 1}))
		code, calls = connectrpc.CodeAborted, 0
		_, err := client.SetState(context.Background(), "s", "k", 1)
		failure := fails(t, err, "UNKNOWN_99")
		equal(t, failure.Code, connectrpc.CodeAborted)
		equal(t, failure.Message+failure.Metadata["new"], "something newfact")
		equal(t, calls, 1)
		results := must[[]workflowstate.Result](t)(
			client.Batch(context.Background(), workflowstate.GetOp("s", "k")))
		equal(t, fails(t, results[0].Err, "UNKNOWN_99").Message, "in a batch")
		// Of a write that is unavailable for a reason not known nobody can say whether it was made.
		code, calls = connectrpc.CodeUnavailable, 0
		_, err = client.SetState(context.Background(), "s", "k", 1)
		fails(t, err, workflowstate.ReasonOutcomeUnknown)
		equal(t, calls, 3)
	}
}

func TestAnAnswerWithoutAResultForEachOperationIsNoAnswer(t *testing.T) {
	url := (&answering{
		batch: func(context.Context, *statev1.BatchRequest) (*statev1.BatchResponse, error) {
			return &statev1.BatchResponse{}, nil
		},
	}).start(t)
	client := connect(t, url)
	_, err := client.Batch(context.Background(), workflowstate.GetOp("s", "k"))
	fails(t, err, workflowstate.ReasonStoreUnavailable)
	_, err = client.Batch(context.Background(), workflowstate.SetOp("s", "k", 1))
	fails(t, err, workflowstate.ReasonOutcomeUnknown)
}

func TestAResultOfANewerKindSaysNothingOfItsOperation(t *testing.T) {
	url := (&answering{
		batch: func(context.Context, *statev1.BatchRequest) (*statev1.BatchResponse, error) {
			return &statev1.BatchResponse{Results: []*statev1.Result{{}, {}}}, nil
		},
	}).start(t)
	results := must[[]workflowstate.Result](t)(connect(t, url).Batch(context.Background(),
		workflowstate.GetOp("s", "k"), workflowstate.SetOp("s", "k", 1)))
	for index, reason := range []workflowstate.Reason{
		workflowstate.ReasonStoreUnavailable, workflowstate.ReasonOutcomeUnknown,
	} {
		failure := fails(t, results[index].Err, reason)
		equal(t, failure.Code, connectrpc.CodeUnavailable)
		equal(t, failure.Message == "", false)
	}
}

func TestAnAddressWithoutTheServiceIsSaidToBeWrong(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	for _, protocol := range protocols {
		client := connect(t, server.URL, workflowstate.WithProtocol(protocol))
		_, err := client.GetState(context.Background(), "s", "k")
		fails(t, err, workflowstate.ReasonInvalidRequest)
	}
}
