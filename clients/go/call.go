package workflowstate

import (
	"cmp"
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
)

// bound gives the context of a call: it ends with the client, and after the client's timeout if it has no
// deadline.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, limited := ctx.Deadline(); limited {
		return c.living(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, c.settings.timeout)
	living, end := c.living(limited)
	return living, func() {
		end()
		cancel()
	}
}

// living gives a context that ends with the client.
func (c *Client) living(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	if c.life.Err() != nil {
		// Now, and not only when the goroutine comes to it.
		cancel()
	}
	return ctx, func() {
		stop()
		cancel()
	}
}

// carrying gives a context whose call carries the client's headers.
func (c *Client) carrying(ctx context.Context) (context.Context, error) {
	headers, err := c.settings.headers(ctx)
	if err != nil {
		return nil, err
	}
	ctx, info := connect.NewClientContext(ctx)
	for name, values := range headers {
		info.RequestHeader()[name] = values
	}
	return ctx, nil
}

// call makes a call, and again while it fails with UNAVAILABLE and there is time. What can't be known in the
// end is OUTCOME_UNKNOWN for a write, STORE_UNAVAILABLE for a read.
func call[Request proto.Message, Response any](
	ctx context.Context,
	c *Client,
	method func(context.Context, Request) (Response, error),
	request Request,
	write bool,
) (Response, error) {
	var none Response
	if err := checkText(request); err != nil {
		return none, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	unknown := false
	for attempt := 1; ; attempt++ {
		response, sent, err := once(ctx, c, method, request)
		if err == nil {
			return response, nil
		}
		failure := c.failure(ctx, err, write && sent)
		unknown = unknown || write && failure.leavesOpen()
		pause := c.settings.retry.pause(attempt)
		// The context ends a moment later than the client.
		over := ctx.Err() != nil || c.life.Err() != nil || attempt >= c.settings.retry.Attempts ||
			!timeLeft(ctx, pause)
		if over || !failure.unavailable() {
			if unknown {
				return none, stillUnknown(failure)
			}
			return none, failure
		}
		sleep(ctx, pause)
	}
}

// once makes one attempt, and says whether it may have been sent.
func once[Request, Response any](
	ctx context.Context,
	c *Client,
	method func(context.Context, Request) (Response, error),
	request Request,
) (response Response, sent bool, err error) {
	if err := cmp.Or(ctx.Err(), c.life.Err()); err != nil {
		return response, false, err
	}
	carrying, err := c.carrying(ctx)
	if err != nil {
		return response, false, err
	}
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(carrying, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	response, err = method(traced, request)
	// A client of the caller's own may not say when it is connected.
	return response, connected.Load() || c.settings.httpClient != nil, err
}

// timeLeft says whether there is more time than that.
func timeLeft(ctx context.Context, span time.Duration) bool {
	deadline, limited := ctx.Deadline()
	return !limited || time.Until(deadline) > span
}

// sleep waits so long, or until the context ends.
func sleep(ctx context.Context, span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
