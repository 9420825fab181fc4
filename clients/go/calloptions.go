package workflowstate

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// What calls can be told beyond what they need. Each is a type of its own, so that the compiler knows which
// call takes which: client.SetState(ctx, id, key, value, IfRevision(3), TTL(time.Hour)).
type (
	// A GetOption is an option of GetState and GetEntry: [AtRevision].
	GetOption interface {
		ofGet(*statev1.GetStateRequest)
	}
	// A SetOption is an option of SetState: [IfRevision], [TTL], [RequestID].
	SetOption interface {
		ofSet(*statev1.SetStateRequest)
	}
	// A DeleteOption is an option of DeleteState: [IfRevision], [RequestID].
	DeleteOption interface {
		ofDelete(*statev1.DeleteStateRequest)
	}
	// A GetSessionOption is an option of GetSession: [AtRevision], [KeyPrefix].
	GetSessionOption interface {
		ofGetSession(*statev1.GetSessionRequest)
	}
	// A SaveOption is an option of SaveSession: [IfRevision], [TTL], [IdleTTL], [WorkflowID], [UserID],
	// [Labels], [RequestID].
	SaveOption interface {
		ofSave(*statev1.SaveSessionRequest)
	}
	// A DeleteSessionOption is an option of DeleteSession: [IfRevision], [RequestID].
	DeleteSessionOption interface {
		ofDeleteSession(*statev1.DeleteSessionRequest)
	}
	// A ForkOption is an option of ForkSession: [AtRevision], [RequestID].
	ForkOption interface {
		ofFork(*statev1.ForkSessionRequest)
	}
	// A RestoreOption is an option of RestoreSession: [IfRevision], [RequestID].
	RestoreOption interface {
		ofRestore(*statev1.RestoreSessionRequest)
	}
	// A ListStateOption is an option of ListState: [KeyPrefix], [StartAfter], [Reverse], [AtRevision],
	// [PageSize], [PageToken].
	ListStateOption interface {
		ofListState(*statev1.ListStateRequest)
	}
	// A ListSessionsOption is an option of ListSessions: [WorkflowID], [UserID], [SessionIDPrefix], [Labels],
	// [UpdatedAfter], [UpdatedBefore], [SessionView], [SessionOrder], [PageSize], [PageToken].
	ListSessionsOption interface {
		ofListSessions(*statev1.ListSessionsRequest)
	}
	// A ListEventsOption is an option of ListEvents: [AfterRevision], [Reverse], [PageSize], [PageToken].
	ListEventsOption interface {
		ofListEvents(*statev1.ListEventsRequest)
	}
	// A WatchSessionOption is an option of WatchSession: [AfterRevision], [KeyPrefix].
	WatchSessionOption interface {
		ofWatchSession(*statev1.WatchSessionRequest)
	}
	// A WatchSessionsOption is an option of WatchSessions: [WorkflowID], [UserID], [SessionIDPrefix],
	// [Labels], [UpdatedAfter], [UpdatedBefore].
	WatchSessionsOption interface {
		ofWatchSessions(*statev1.WatchSessionsRequest)
	}
	// A SetChangeOption is an option of [Commit.Set]: [TTL], [KeepExpiry].
	SetChangeOption interface{ ofSetChange(*statev1.SetChange) }
)

type (
	// IfRevision makes a write only if what it writes is still at this revision; 0: only if it is not there.
	// For an entry it is the entry's revision, for a session the session's.
	IfRevision int64
	// AtRevision reads what was at this revision of the session.
	AtRevision int64
	// AfterRevision begins with the event after this revision.
	AfterRevision int64
	// RequestID makes a write count once, however often it is sent with the same request id. Every write has
	// one that is made for the call; give your own to be able to send it again from another process.
	RequestID string
	// TTL is how long an entry or a session lives from now; what is no whole millisecond counts as one more.
	// Of an entry, 0 and none mean for ever; of a session, none leaves its expiry as it is and 0 takes it
	// away.
	TTL time.Duration
	// IdleTTL is how long a session lives after its last write; none leaves that as it is, 0 takes it away.
	IdleTTL time.Duration
	// KeepExpiry leaves the expiry of an entry that is set as it is.
	KeepExpiry bool
	// KeyPrefix takes only the entries whose key begins with it.
	KeyPrefix string
	// StartAfter lists only entries after this key.
	StartAfter string
	// Reverse lists from the last to the first.
	Reverse bool
	// PageSize is how many items a page has at most; 0: the service chooses.
	PageSize int
	// PageToken goes on after a page.
	PageToken string
	// WorkflowID is the workflow of a session: to be saved, or to be listed by.
	WorkflowID string
	// UserID is the user of a session: to be saved, or to be listed by.
	UserID string
	// Labels are the labels of a session: to be saved, or to be listed by, when a session must have all of
	// them.
	Labels map[string]string
	// SessionIDPrefix takes only the sessions whose id begins with it.
	SessionIDPrefix string
	// UpdatedAfter takes only the sessions last written after this moment.
	UpdatedAfter time.Time
	// UpdatedBefore takes only the sessions last written before this moment.
	UpdatedBefore time.Time
	// A SessionView is how much of each session a listing returns: metadata if nothing else is said.
	SessionView int
	// A SessionOrder is the order of a listing of sessions: by id if nothing else is said.
	SessionOrder int
)

const (
	// ViewIDs: session ids only.
	ViewIDs = SessionView(statev1.SessionView_SESSION_VIEW_IDS)
	// ViewMetadata: all but the state.
	ViewMetadata = SessionView(statev1.SessionView_SESSION_VIEW_METADATA)
	// ViewFull: everything.
	ViewFull = SessionView(statev1.SessionView_SESSION_VIEW_FULL)

	// OrderID: by session id, as UTF-8 bytes compare.
	OrderID = SessionOrder(statev1.SessionOrder_SESSION_ORDER_ID)
	// OrderUpdateTimeDesc: the last written first.
	OrderUpdateTimeDesc = SessionOrder(statev1.SessionOrder_SESSION_ORDER_UPDATE_TIME_DESC)
)

func (o IfRevision) ofSet(m *statev1.SetStateRequest)                { m.IfRevision = new(int64(o)) }
func (o IfRevision) ofDelete(m *statev1.DeleteStateRequest)          { m.IfRevision = new(int64(o)) }
func (o IfRevision) ofSave(m *statev1.SaveSessionRequest)            { m.IfRevision = new(int64(o)) }
func (o IfRevision) ofDeleteSession(m *statev1.DeleteSessionRequest) { m.IfRevision = new(int64(o)) }
func (o IfRevision) ofRestore(m *statev1.RestoreSessionRequest)      { m.IfRevision = new(int64(o)) }
func (o AtRevision) ofGet(m *statev1.GetStateRequest)                { m.AtRevision = new(int64(o)) }
func (o AtRevision) ofGetSession(m *statev1.GetSessionRequest)       { m.AtRevision = new(int64(o)) }
func (o AtRevision) ofFork(m *statev1.ForkSessionRequest)            { m.AtRevision = new(int64(o)) }
func (o AtRevision) ofListState(m *statev1.ListStateRequest)         { m.AtRevision = new(int64(o)) }
func (o AfterRevision) ofListEvents(m *statev1.ListEventsRequest)    { m.AfterRevision = int64(o) }
func (o AfterRevision) ofWatchSession(m *statev1.WatchSessionRequest) {
	m.AfterRevision = new(int64(o))
}
func (o RequestID) ofSet(m *statev1.SetStateRequest)                { m.RequestId = string(o) }
func (o RequestID) ofDelete(m *statev1.DeleteStateRequest)          { m.RequestId = string(o) }
func (o RequestID) ofSave(m *statev1.SaveSessionRequest)            { m.RequestId = string(o) }
func (o RequestID) ofDeleteSession(m *statev1.DeleteSessionRequest) { m.RequestId = string(o) }
func (o RequestID) ofFork(m *statev1.ForkSessionRequest)            { m.RequestId = string(o) }
func (o RequestID) ofRestore(m *statev1.RestoreSessionRequest)      { m.RequestId = string(o) }
func (o TTL) ofSet(m *statev1.SetStateRequest)                      { m.Ttl = toDuration(time.Duration(o)) }
func (o TTL) ofSave(m *statev1.SaveSessionRequest)                  { m.Ttl = toDuration(time.Duration(o)) }
func (o TTL) ofSetChange(m *statev1.SetChange)                      { m.Ttl = toDuration(time.Duration(o)) }
func (o IdleTTL) ofSave(m *statev1.SaveSessionRequest) {
	m.IdleTtl = toDuration(time.Duration(o))
}
func (o KeepExpiry) ofSetChange(m *statev1.SetChange)                { m.KeepExpiry = bool(o) }
func (o KeyPrefix) ofGetSession(m *statev1.GetSessionRequest)        { m.KeyPrefix = string(o) }
func (o KeyPrefix) ofListState(m *statev1.ListStateRequest)          { m.KeyPrefix = string(o) }
func (o KeyPrefix) ofWatchSession(m *statev1.WatchSessionRequest)    { m.KeyPrefix = string(o) }
func (o StartAfter) ofListState(m *statev1.ListStateRequest)         { m.StartAfter = string(o) }
func (o Reverse) ofListState(m *statev1.ListStateRequest)            { m.Reverse = bool(o) }
func (o Reverse) ofListEvents(m *statev1.ListEventsRequest)          { m.Reverse = bool(o) }
func (o PageSize) ofListState(m *statev1.ListStateRequest)           { m.PageSize = clamped(int(o)) }
func (o PageSize) ofListSessions(m *statev1.ListSessionsRequest)     { m.PageSize = clamped(int(o)) }
func (o PageSize) ofListEvents(m *statev1.ListEventsRequest)         { m.PageSize = clamped(int(o)) }
func (o PageToken) ofListState(m *statev1.ListStateRequest)          { m.PageToken = string(o) }
func (o PageToken) ofListSessions(m *statev1.ListSessionsRequest)    { m.PageToken = string(o) }
func (o PageToken) ofListEvents(m *statev1.ListEventsRequest)        { m.PageToken = string(o) }
func (o WorkflowID) ofSave(m *statev1.SaveSessionRequest)            { m.Session.WorkflowId = new(string(o)) }
func (o WorkflowID) ofListSessions(m *statev1.ListSessionsRequest)   { m.WorkflowId = string(o) }
func (o WorkflowID) ofWatchSessions(m *statev1.WatchSessionsRequest) { m.WorkflowId = string(o) }
func (o UserID) ofSave(m *statev1.SaveSessionRequest)                { m.Session.UserId = new(string(o)) }
func (o UserID) ofListSessions(m *statev1.ListSessionsRequest)       { m.UserId = string(o) }
func (o UserID) ofWatchSessions(m *statev1.WatchSessionsRequest)     { m.UserId = string(o) }
func (o Labels) ofSave(m *statev1.SaveSessionRequest)                { m.Session.Labels = o }
func (o Labels) ofListSessions(m *statev1.ListSessionsRequest)       { m.Labels = o }
func (o Labels) ofWatchSessions(m *statev1.WatchSessionsRequest)     { m.Labels = o }
func (o SessionIDPrefix) ofListSessions(m *statev1.ListSessionsRequest) {
	m.SessionIdPrefix = string(o)
}
func (o SessionIDPrefix) ofWatchSessions(m *statev1.WatchSessionsRequest) {
	m.SessionIdPrefix = string(o)
}
func (o UpdatedAfter) ofListSessions(m *statev1.ListSessionsRequest) {
	m.UpdatedAfter = timestamppb.New(time.Time(o))
}
func (o UpdatedAfter) ofWatchSessions(m *statev1.WatchSessionsRequest) {
	m.UpdatedAfter = timestamppb.New(time.Time(o))
}
func (o UpdatedBefore) ofListSessions(m *statev1.ListSessionsRequest) {
	m.UpdatedBefore = timestamppb.New(time.Time(o))
}
func (o UpdatedBefore) ofWatchSessions(m *statev1.WatchSessionsRequest) {
	m.UpdatedBefore = timestamppb.New(time.Time(o))
}
func (o SessionView) ofListSessions(m *statev1.ListSessionsRequest) { m.View = statev1.SessionView(o) }
func (o SessionOrder) ofListSessions(m *statev1.ListSessionsRequest) {
	m.Order = statev1.SessionOrder(o)
}

// clamped gives what a message can hold; the service refuses what is negative.
func clamped(count int) int32 {
	return int32(max(math.MinInt32, min(count, math.MaxInt32)))
}
