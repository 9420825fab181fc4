// Package workflowstate is the client of AgenTerra workflow state: session state for workflow engines.
//
//	client, err := workflowstate.New("http://127.0.0.1:7410")
//	...
//	defer client.Close()
//	_, err = client.SetState(ctx, "cart-1", "items", []any{"milk", "bread"})
//
// # Values
//
// A value is nil, a bool, a number, a string, or a []any or map[string]any of values, 32 levels deep at most.
// Slices and maps of other element types are taken, too, as are named types of these kinds. What is read has
// the types that [encoding/json] gives: numbers are float64, lists []any, objects map[string]any;
// [Entry.Decode] writes them into other types. What would not come back is refused with INVALID_VALUE and the
// path inside the value: an integer beyond 2^53, NaN and the infinities, []byte, text that is not UTF-8,
// structs, pointers, maps with other keys, whatever holds itself. A nil slice is an empty list, a nil map an
// empty object.
//
// # Calls
//
// A call takes at most 30 s with all its attempts, unless its context has a deadline. One that fails with
// UNAVAILABLE is tried again until its attempts or its time run out; every write carries a request id, made
// once for the call unless one is given, so that it is done once. What fails is an [*Error].
package workflowstate

import (
	"context"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
	"github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1/statev1connect"
)

// A Client is the sessions that a service keeps. It serves any number of goroutines.
type Client struct {
	settings *settings
	stub     statev1connect.WorkflowStateServiceClient
	// life ends when the client is closed.
	life  context.Context
	end   context.CancelFunc
	turns turns
}

// New makes a client of the service at a URL: http://HOST:PORT or, with TLS, https://HOST:PORT. It connects
// when it is first used.
func New(url string, options ...Option) (*Client, error) {
	settings, err := newSettings(url, options)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	return &Client{settings: settings, stub: connectTo(life, settings), life: life, end: end}, nil
}

// Close ends what is under way: streams with SHUTTING_DOWN, writes with OUTCOME_UNKNOWN, reads with
// STORE_UNAVAILABLE. Later calls fail. It never fails itself.
func (c *Client) Close() error {
	c.end()
	return nil
}

// GetState reads a value; nil if there is none. A stored null is nil, too: [Client.GetEntry] tells them
// apart.
func (c *Client) GetState(ctx context.Context, sessionID, key string, options ...GetOption) (any, error) {
	entry, err := c.GetEntry(ctx, sessionID, key, options...)
	if err != nil || entry == nil {
		return nil, err
	}
	return entry.Value, nil
}

// GetEntry reads an entry: the value with its revision and times. Nil: there is none.
func (c *Client) GetEntry(ctx context.Context, sessionID, key string, options ...GetOption) (*Entry, error) {
	response, err := call(ctx, c, c.stub.GetState, getState(sessionID, key, options), false)
	if err != nil {
		return nil, err
	}
	return entryOf(response.GetEntry()), nil
}

// SetState writes an entry; creates the session if it is missing.
func (c *Client) SetState(
	ctx context.Context, sessionID, key string, value any, options ...SetOption,
) (*Entry, error) {
	request, err := setState(sessionID, key, value, options)
	if err != nil {
		return nil, err
	}
	response, err := call(ctx, c, c.stub.SetState, request, true)
	if err != nil {
		return nil, err
	}
	return entryOf(response.GetEntry()), nil
}

// DeleteState deletes an entry; the answer says whether there was one.
func (c *Client) DeleteState(
	ctx context.Context, sessionID, key string, options ...DeleteOption,
) (*Deletion, error) {
	response, err := call(ctx, c, c.stub.DeleteState, deleteState(sessionID, key, options), true)
	if err != nil {
		return nil, err
	}
	return deletionOf(response), nil
}

// GetSession reads a session with its state, or the part of it under a prefix. Nil: there is none.
//
// One that is larger than an answer may be fails with SESSION_TOO_LARGE: read it with [Client.ListState].
func (c *Client) GetSession(
	ctx context.Context, sessionID string, options ...GetSessionOption,
) (*Session, error) {
	response, err := call(ctx, c, c.stub.GetSession, getSession(sessionID, options), false)
	if err != nil {
		return nil, err
	}
	return sessionOf(response.GetSession()), nil
}

// SaveSession creates a session, or replaces all of its state and metadata; to change a part use
// [Client.Commit] or [Client.Update].
func (c *Client) SaveSession(
	ctx context.Context, sessionID string, state map[string]any, options ...SaveOption,
) (*Session, error) {
	request, err := saveSession(sessionID, state, options)
	if err != nil {
		return nil, err
	}
	response, err := call(ctx, c, c.stub.SaveSession, request, true)
	if err != nil {
		return nil, err
	}
	if saved := response.GetSession(); saved != nil && len(saved.GetState()) == 0 {
		// Also where one answer could not hold it: what is there now is what was sent.
		saved.State = request.GetSession().GetState()
	}
	return sessionOf(response.GetSession()), nil
}

// DeleteSession deletes a session and all its entries. It says whether there was one.
func (c *Client) DeleteSession(
	ctx context.Context, sessionID string, options ...DeleteSessionOption,
) (bool, error) {
	response, err := call(ctx, c, c.stub.DeleteSession, deleteSession(sessionID, options), true)
	if err != nil {
		return false, err
	}
	return response.GetDeleted(), nil
}

// Commit makes one atomic write: see [Commit]. Sent again, the same commit counts again, unless it has a
// request id.
func (c *Client) Commit(ctx context.Context, commit *Commit) (*Committed, error) {
	request, err := commit.message()
	if err != nil {
		return nil, err
	}
	response, err := call(ctx, c, c.stub.Commit, request, true)
	if err != nil {
		return nil, err
	}
	return committedOf(response), nil
}

// Batch runs operations in order, on any sessions; gives one result for each, whose Err says if it failed.
// Each is atomic by itself, the batch is not.
func (c *Client) Batch(ctx context.Context, operations ...Operation) ([]Result, error) {
	messages, err := toOperations(operations)
	if err != nil {
		return nil, err
	}
	request := &statev1.BatchRequest{Operations: messages}
	response, err := call(ctx, c, c.stub.Batch, request, writes(messages))
	if err != nil {
		return nil, err
	}
	return resultsOf(response.GetResults(), messages)
}

// ForkSession copies a session, as it is or as it was at a revision, to a new one.
func (c *Client) ForkSession(
	ctx context.Context, sessionID, newSessionID string, options ...ForkOption,
) (*Session, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	response, err := call(ctx, c, c.stub.ForkSession, forkSession(sessionID, newSessionID, options), true)
	if err != nil {
		return nil, err
	}
	return c.completed(ctx, response.GetSession())
}

// RestoreSession gives a session the content that it had at a revision, as a new revision. It brings back a
// deleted session, too.
func (c *Client) RestoreSession(
	ctx context.Context, sessionID string, atRevision int64, options ...RestoreOption,
) (*Session, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	response, err := call(ctx, c, c.stub.RestoreSession, restoreSession(sessionID, atRevision, options), true)
	if err != nil {
		return nil, err
	}
	return c.completed(ctx, response.GetSession())
}
