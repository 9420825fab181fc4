package workflowstate

import (
	"time"
)

// A Session is a workflow session: its state and what is known about it. Times are UTC, to the millisecond,
// and zero where there is none.
type Session struct {
	SessionID string
	// State has every key with its value; empty where a listing or a watch leaves it out.
	State map[string]any
	// Revision is the revision of the last commit; 0 in a snapshot of a session that never was.
	Revision int64
	// CreateTime is zero in a snapshot of a session that does not exist, and in a listing of ids.
	CreateTime time.Time
	// UpdateTime is when it was last written; zero as CreateTime.
	UpdateTime time.Time
	// WorkflowID is the workflow that it belongs to; empty: none.
	WorkflowID string
	// UserID is the user that it belongs to; empty: none.
	UserID string
	Labels map[string]string
	// ExpireTime is when it expires unless it is written or renewed before; zero: never.
	ExpireTime time.Time
	// ForkedFrom is where it was forked from; nil: it was not.
	ForkedFrom *ForkedFrom
}

// A ForkedFrom is the session and revision that a session was forked from.
type ForkedFrom struct {
	SessionID string
	Revision  int64
}

// An Entry is one key of a session's state.
type Entry struct {
	Key string
	// Value is the value; nil also where Deleted.
	Value any
	// Revision is the revision of the commit that last wrote it: what a check compares.
	Revision   int64
	UpdateTime time.Time
	// ExpireTime is when it expires; zero: never.
	ExpireTime time.Time
	// Deleted says that the entry is gone: in the answers of writes and in events only. A stored null has
	// false here.
	Deleted bool
}

// Decode writes the value into what a pointer points to, as [encoding/json] does: a list into a slice, an
// object into a map or a struct.
//
//	var items []string
//	err := entry.Decode(&items)
//
// What does not fit fails with INVALID_VALUE, the type and, where it is known, the path inside the value.
func (e *Entry) Decode(into any) error {
	return decode(e.Value, e.Key, into)
}

// Committed is what a commit left.
type Committed struct {
	// Revision is the session's revision after it, unchanged if nothing was written; 0: there is no such
	// session.
	Revision int64
	// UpdateTime is when the session was last written; zero: there is no such session.
	UpdateTime time.Time
	// Entries has each entry that a change named, as it is after the commit, in the order first named.
	Entries []*Entry
}

// Entry gives the entry of a key that a change named; nil: none did.
func (c *Committed) Entry(key string) *Entry {
	for _, entry := range c.Entries {
		if entry.Key == key {
			return entry
		}
	}
	return nil
}

// A Deletion is what the deletion of an entry did.
type Deletion struct {
	// Deleted says whether there was an entry to delete.
	Deleted bool
	// Revision is the session's revision after it; 0: there is no such session.
	Revision int64
}

// An EventKind says what kind of write made an event.
type EventKind string

const (
	// EventCommitted: entries or metadata were changed.
	EventCommitted EventKind = "COMMITTED"
	// EventSaved: the session was replaced.
	EventSaved EventKind = "SAVED"
	// EventDeleted: the session was deleted, and all its entries.
	EventDeleted EventKind = "DELETED"
	// EventExpired: entries expired, or without entries: the session did, and all its entries.
	EventExpired EventKind = "EXPIRED"
	// EventForked: the session was made by a fork.
	EventForked EventKind = "FORKED"
	// EventRestored: the session was given an older content.
	EventRestored EventKind = "RESTORED"
	// EventUnknown is a kind that a newer service has and this client does not know.
	EventUnknown EventKind = "UNKNOWN"
)

// An Event is what one commit did: a message of a watch, and an item of the history.
type Event struct {
	SessionID string
	Revision  int64
	Time      time.Time
	Kind      EventKind
	// Entries has the entries that it wrote, as they were after it.
	Entries []*Entry
	// RequestID is the request id of the write; empty: it had none.
	RequestID string
}

// A WatchMessage is a message of a watch on one session: a snapshot, an event, or with neither the news that
// there is none.
type WatchMessage struct {
	// Revision is where to go on: all events up to it have come.
	Revision int64
	// Snapshot is the session as it is: the first message of a watch that began without a revision.
	Snapshot *Session
	// Event is the next commit.
	Event *Event
}

// A SessionChange is one commit to a session that a watch on sessions follows.
type SessionChange struct {
	// Session is the session after it, without its state; of a deleted or expired one what it was last.
	Session *Session
	Kind    EventKind
}

// A Page is a page of a listing.
type Page[T any] struct {
	Items []T
	// NextPageToken asks for the next page; empty: this was the last.
	NextPageToken string
}
