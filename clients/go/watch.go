package workflowstate

import (
	"context"
	"iter"
	"time"

	"connectrpc.com/connect"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// WatchSession follows a session: a snapshot first, or with [AfterRevision] none, then every commit as an
// event, in order.
//
//	for message, err := range client.WatchSession(ctx, "cart-1", workflowstate.AfterRevision(3)) {
//
// It outlives lost connections, without a gap and nothing twice, and a deletion of the session. It ends when
// the loop is left, when its context ends, or when it fails, both with an error. Each message has the
// revision to go on after.
func (c *Client) WatchSession(
	ctx context.Context, sessionID string, options ...WatchSessionOption,
) iter.Seq2[WatchMessage, error] {
	return func(yield func(WatchMessage, error) bool) {
		request := &statev1.WatchSessionRequest{SessionId: sessionID}
		for _, option := range options {
			option.ofWatchSession(request)
		}
		if err := checkText(request); err != nil {
			yield(WatchMessage{}, err)
			return
		}
		ctx, cancel := c.living(ctx)
		defer cancel()
		for failures := 0; ; {
			answered, err := c.watchOnce(ctx, request, yield)
			if err == nil {
				return
			}
			if answered {
				failures = 0
			}
			failures++
			failure := c.failure(ctx, err, false)
			if ctx.Err() == nil && failure.unavailable() {
				sleep(ctx, c.settings.retry.pause(failures))
			}
			if ctx.Err() != nil || !failure.unavailable() {
				yield(WatchMessage{}, c.ended(ctx, failure))
				return
			}
		}
	}
}

// watchOnce gives what one connection brings, and notes in the request where to go on. Without an error the
// loop was left.
func (c *Client) watchOnce(
	ctx context.Context, request *statev1.WatchSessionRequest, yield func(WatchMessage, error) bool,
) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, err = c.carrying(ctx)
	if err != nil {
		return false, err
	}
	silence := time.AfterFunc(c.settings.silence, cancel)
	defer silence.Stop()
	stream, err := c.stub.WatchSession(ctx, request)
	if err != nil {
		return false, err
	}
	// The context's end closes it, also before it is read to its end.
	for stream.Receive() {
		silence.Stop()
		answered = true
		if message, known := watchMessageOf(stream.Msg()); known {
			request.AfterRevision = new(message.Revision)
			if !yield(message, nil) {
				return true, nil
			}
		}
		// Only the service's silence counts, not the time that a message takes here.
		silence.Reset(c.settings.silence)
	}
	return answered, streamEnd(stream.Err())
}

// WatchSessions follows the commits to all sessions that match, from when its loop begins.
//
// A lost connection ends it with STORE_UNAVAILABLE, as what happened meanwhile can't be had from a watch:
// watch again, then close the gap with [Client.ListSessions] and [UpdatedAfter]. It ends also when the loop
// is left, and with an error when its context ends.
func (c *Client) WatchSessions(
	ctx context.Context, options ...WatchSessionsOption,
) iter.Seq2[SessionChange, error] {
	return func(yield func(SessionChange, error) bool) {
		request := &statev1.WatchSessionsRequest{}
		for _, option := range options {
			option.ofWatchSessions(request)
		}
		if err := checkText(request); err != nil {
			yield(SessionChange{}, err)
			return
		}
		ctx, cancel := c.living(ctx)
		defer cancel()
		if err := c.watchSessions(ctx, request, yield); err != nil {
			yield(SessionChange{}, c.ended(ctx, c.failure(ctx, err, false)))
		}
	}
}

func (c *Client) watchSessions(
	ctx context.Context, request *statev1.WatchSessionsRequest, yield func(SessionChange, error) bool,
) error {
	ctx, err := c.carrying(ctx)
	if err != nil {
		return err
	}
	stream, err := c.stub.WatchSessions(ctx, request)
	if err != nil {
		return err
	}
	for stream.Receive() {
		message := stream.Msg()
		change := SessionChange{Session: sessionOf(message.GetSession()), Kind: kindOf(message.GetKind())}
		if !yield(change, nil) {
			return nil
		}
	}
	return streamEnd(stream.Err())
}

// streamEnd gives the error of a stream that is over: also one that the service ended in peace, which a watch
// has not.
func streamEnd(err error) error {
	if err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errEnded)
}

// ended gives the error that a stream ends with: its context's or its client's end, or what it failed with.
func (c *Client) ended(ctx context.Context, failure *Error) *Error {
	if c.life.Err() != nil {
		return newError(ReasonShuttingDown, closedMessage, failure)
	}
	if ctx.Err() != nil && failure.unavailable() {
		return newError(ReasonStoreUnavailable, "The stream's context has ended.", causeOf(ctx, failure))
	}
	return failure
}
