package workflowstate

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http/httptrace"
	"sync"
	"sync/atomic"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

var errEnded = errors.New("the service ended the stream")

// Pipeline runs batches over one stream, the fastest way in: it gives the results of each, in order. It has
// no timeout but its context's.
//
// The batches are taken in a goroutine of their own, each when the one before is on its way. After a lost
// connection what is not answered is sent again, and done once: writes carry request ids. It gives up after
// as many connections in a row that answered nothing as [Retry] says. A batch that can't be sent ends it,
// when what came before is answered. Of writes that are not answered when its loop is left nobody can tell
// whether they were made.
func (c *Client) Pipeline(ctx context.Context, batches iter.Seq[[]Operation]) iter.Seq2[[]Result, error] {
	return func(yield func([]Result, error) bool) {
		ctx, cancel := c.living(ctx)
		defer cancel()
		box := newOutbox()
		stop := context.AfterFunc(ctx, box.stop)
		defer stop()
		defer box.stop()
		go box.fill(batches)
		for failures := 0; ; {
			answered, err := c.pipelineOnce(ctx, box, yield)
			if errors.Is(err, errLeft) {
				return
			}
			if finished, refused := box.finished(); finished && err == nil {
				if refused != nil {
					yield(nil, refused)
				}
				return
			}
			if answered {
				failures = 0
			}
			failures++
			failure := c.failure(ctx, streamEnd(err), false)
			if ctx.Err() == nil && failure.unavailable() && failures < c.settings.retry.Attempts {
				sleep(ctx, c.settings.retry.pause(failures))
				if ctx.Err() == nil {
					continue
				}
			}
			failure = c.ended(ctx, failure)
			if c.life.Err() == nil {
				failure = box.unanswered(failure)
			}
			yield(nil, failure)
			return
		}
	}
}

// errLeft says that the loop over the results was left.
var errLeft = errors.New("left")

// pipelineOnce gives what one connection answers. Without an error the service has ended the stream in peace.
func (c *Client) pipelineOnce(
	ctx context.Context, box *outbox, yield func([]Result, error) bool,
) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connection := box.connect()
	if !box.wait(connection) {
		// There is nothing to send at all.
		return false, nil
	}
	// A client of the caller's own may not say when it is connected.
	var connected atomic.Bool
	connected.Store(c.settings.httpClient != nil)
	ctx, err = c.carrying(ctx)
	if err != nil {
		return false, err
	}
	stream, err := c.stub.Pipeline(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	if err != nil {
		return false, err
	}
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		for request := box.next(connection); request != nil; request = box.next(connection) {
			if stream.Send(request) != nil {
				// Receiving says why.
				return
			}
			box.taken(connection)
		}
		_ = stream.CloseRequest()
	}()
	defer func() {
		// Of what the service refuses before it has answered anything nothing was done.
		refused := !answered && err != nil && !c.failure(ctx, err, false).unavailable()
		box.disconnect(connected.Load() && !refused)
		cancel()
		<-sending
	}()
	for {
		response, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return answered, nil
		}
		if err != nil {
			return answered, err
		}
		answered = true
		results, err := box.answer(response)
		if err != nil {
			// A service that answers so would do it again, and what it has answered is not asked for again.
			box.disconnect(true)
			yield(nil, box.unanswered(c.failure(ctx, err, false)))
			return answered, errLeft
		}
		if !yield(results, nil) {
			return answered, errLeft
		}
	}
}

// An outbox has the batches of a pipeline: sent by the connection of the moment, and kept until they are
// answered.
type outbox struct {
	mutex   sync.Mutex
	changed *sync.Cond
	kept    []*statev1.PipelineRequest
	// How many of them the connection of the moment has begun to send, and has sent.
	begun, sent int
	// How many of them, from the oldest on, a connection that has ended may have brought to the service: they may
	// be done.
	doubtful   int
	connection int
	ended      bool
	stopped    bool
	// What was wrong with the batch that ended it.
	refused error
}

func newOutbox() *outbox {
	box := &outbox{}
	box.changed = sync.NewCond(&box.mutex)
	return box
}

// fill takes batches from their source, each when the one before is on its way.
func (b *outbox) fill(batches iter.Seq[[]Operation]) {
	var refused error
	for batch := range batches {
		var operations []*statev1.Operation
		if operations, refused = toOperations(batch); refused != nil {
			break
		}
		request := &statev1.PipelineRequest{Operations: operations}
		if refused = checkText(request); refused != nil {
			break
		}
		if !b.keep(request) {
			break
		}
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.ended, b.refused = true, refused
	b.changed.Broadcast()
}

func (b *outbox) keep(request *statev1.PipelineRequest) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.kept = append(b.kept, request)
	b.changed.Broadcast()
	for !b.stopped && b.sent < len(b.kept) {
		b.changed.Wait()
	}
	return !b.stopped
}

// connect has the connection of the moment send no more; gives the number of the next.
func (b *outbox) connect() int {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.connection++
	b.begun, b.sent = 0, 0
	b.changed.Broadcast()
	return b.connection
}

// disconnect has the connection of the moment send no more, and says whether what it has begun to send may be
// done.
func (b *outbox) disconnect(mayBeDone bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.connection++
	if mayBeDone {
		b.doubtful = max(b.doubtful, b.begun)
	}
	b.changed.Broadcast()
}

// wait says whether there is anything to send or to come.
func (b *outbox) wait(connection int) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.await(connection)
	return b.stopped || len(b.kept) > 0
}

func (b *outbox) await(connection int) {
	for !b.stopped && connection == b.connection && !b.ended && b.begun >= len(b.kept) {
		b.changed.Wait()
	}
}

// next gives what a connection is to send next, from the oldest that is not answered; nil: nothing any more.
func (b *outbox) next(connection int) *statev1.PipelineRequest {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.await(connection)
	if b.stopped || connection != b.connection || b.begun >= len(b.kept) {
		return nil
	}
	b.begun++
	return b.kept[b.begun-1]
}

// taken says that a connection has sent what it was given.
func (b *outbox) taken(connection int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if connection == b.connection {
		// An answer may have been quicker.
		b.sent = min(b.sent+1, b.begun)
		b.changed.Broadcast()
	}
}

// answer takes the answer of the oldest batch.
func (b *outbox) answer(response *statev1.PipelineResponse) ([]Result, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.begun == 0 {
		return nil, newError(ReasonStoreUnavailable, "The service answered what was not asked.", nil)
	}
	oldest := b.kept[0]
	b.kept[0] = nil
	b.kept = b.kept[1:]
	b.begun--
	b.sent = max(b.sent-1, 0)
	b.doubtful = max(b.doubtful-1, 0)
	b.changed.Broadcast()
	return resultsOf(response.GetResults(), oldest.GetOperations())
}

// finished says whether all is sent and answered, and what was wrong with the batch that ended it.
func (b *outbox) finished() (bool, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.ended && len(b.kept) == 0, b.refused
}

// stop has everybody who waits for it go.
func (b *outbox) stop() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.stopped = true
	b.changed.Broadcast()
}

// unanswered gives the error of a pipeline that is given up.
func (b *outbox) unanswered(failure *Error) *Error {
	if stillUnknown(failure) == failure {
		return failure
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, request := range b.kept[:b.doubtful] {
		if writes(request.GetOperations()) {
			message := "Writes without an answer may or may not have happened; " +
				"send them again with the same request ids."
			return newError(ReasonOutcomeUnknown, message, failure)
		}
	}
	return failure
}
