package workflowstate

import (
	"maps"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// A Commit is one atomic write to one session, put together step by step: all checks, then all changes in
// order, or nothing.
//
//	workflowstate.NewCommit("cart-1").Check("order", 0).Append("items", "eggs", "milk").Increment("total", 2)
//
// Values are taken over when they are given: changing them later changes nothing. What is wrong with one
// fails the commit when it is made. It is for one goroutine until it is complete.
type Commit struct {
	request *statev1.CommitRequest
	err     error
}

// NewCommit begins a commit to a session.
func NewCommit(sessionID string) *Commit {
	return &Commit{request: &statev1.CommitRequest{SessionId: sessionID}}
}

// IfRevision writes only if the session is at this revision; 0: only if there is none.
func (c *Commit) IfRevision(revision int64) *Commit {
	c.request.IfRevision = &revision
	return c
}

// RequestID makes the commit count once, however often it is sent. Without it, each sending counts.
func (c *Commit) RequestID(id string) *Commit {
	c.request.RequestId = id
	return c
}

// WorkflowID says which workflow the session belongs to; empty: none.
func (c *Commit) WorkflowID(id string) *Commit {
	c.metadata().WorkflowId = &id
	return c
}

// UserID says which user the session belongs to; empty: none.
func (c *Commit) UserID(id string) *Commit {
	c.metadata().UserId = &id
	return c
}

// Labels replaces all labels of the session.
func (c *Commit) Labels(labels map[string]string) *Commit {
	c.metadata().Labels = maps.Clone(labels)
	c.metadata().ClearLabels = len(labels) == 0
	return c
}

// TTL says how long the session lives from now; 0: for ever.
func (c *Commit) TTL(ttl time.Duration) *Commit {
	c.metadata().Ttl = toDuration(ttl)
	return c
}

// IdleTTL says how long the session lives after its last write; 0: idleness does not end it.
func (c *Commit) IdleTTL(ttl time.Duration) *Commit {
	c.metadata().IdleTtl = toDuration(ttl)
	return c
}

// Check writes only if the key's entry is at this revision; 0: only if there is none.
func (c *Commit) Check(key string, revision int64) *Commit {
	c.request.Checks = append(c.request.Checks, &statev1.Check{Key: key, IfRevision: revision})
	return c
}

// Set writes a value. It does not expire, also if it did before, unless a [TTL] or [KeepExpiry] says
// otherwise.
func (c *Commit) Set(key string, value any, options ...SetChangeOption) *Commit {
	change := &statev1.SetChange{Key: key, Value: c.value(key, value)}
	for _, option := range options {
		option.ofSetChange(change)
	}
	return c.add(&statev1.Change{Change: &statev1.Change_Set{Set: change}})
}

// Delete removes a key. One that is absent is no error.
func (c *Commit) Delete(key string) *Commit {
	return c.add(&statev1.Change{Change: &statev1.Change_Delete{Delete: &statev1.DeleteChange{Key: key}}})
}

// Increment adds to a number; an absent key starts from 0.
func (c *Commit) Increment(key string, delta float64) *Commit {
	change := &statev1.IncrementChange{Key: key, Delta: delta}
	return c.add(&statev1.Change{Change: &statev1.Change_Increment{Increment: change}})
}

// Append adds values to the end of a list; an absent key starts from an empty one.
func (c *Commit) Append(key string, values ...any) *Commit {
	return c.AppendLast(key, 0, values...)
}

// AppendLast adds values to the end of a list, which then keeps its last maxItems; 0: all.
func (c *Commit) AppendLast(key string, maxItems int, values ...any) *Commit {
	change := &statev1.AppendChange{Key: key, MaxItems: clamped(maxItems)}
	for _, value := range values {
		change.Values = append(change.Values, c.value(key, value))
	}
	return c.add(&statev1.Change{Change: &statev1.Change_Append{Append: change}})
}

// Merge applies a JSON Merge Patch (RFC 7396) to an object: nil removes a member. An absent key starts from
// an empty one.
func (c *Commit) Merge(key string, patch any) *Commit {
	change := &statev1.MergeChange{Key: key, Value: c.value(key, patch)}
	return c.add(&statev1.Change{Change: &statev1.Change_Merge{Merge: change}})
}

func (c *Commit) metadata() *statev1.SessionMetadata {
	if c.request.Metadata == nil {
		c.request.Metadata = &statev1.SessionMetadata{}
	}
	return c.request.Metadata
}

func (c *Commit) value(key string, value any) *structpb.Value {
	message, err := toValue(value, key)
	if err != nil && c.err == nil {
		c.err = err
	}
	return message
}

func (c *Commit) add(change *statev1.Change) *Commit {
	c.request.Changes = append(c.request.Changes, change)
	return c
}

// message gives a copy of the commit, with a request id.
func (c *Commit) message() (*statev1.CommitRequest, error) {
	if c == nil || c.request == nil {
		return nil, invalid(ReasonInvalidRequest, "commit", "A commit is made by NewCommit.")
	}
	if c.err != nil {
		return nil, c.err
	}
	request := proto.CloneOf(c.request)
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request, nil
}
