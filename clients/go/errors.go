package workflowstate

import (
	"errors"

	"connectrpc.com/connect"
)

// A Reason says why a call failed: a closed set, the same in every language. A newer service can have
// further ones: those come as UNKNOWN_ and their number.
type Reason string

const (
	// ReasonInvalidSessionID: a session id is empty, too long or ill-formed.
	ReasonInvalidSessionID Reason = "INVALID_SESSION_ID"
	// ReasonInvalidKey: a key is empty, too long or ill-formed.
	ReasonInvalidKey Reason = "INVALID_KEY"
	// ReasonInvalidValue: a value can't be kept; metadata "path" says where in it.
	ReasonInvalidValue Reason = "INVALID_VALUE"
	// ReasonInvalidPageToken: the page token is not from this listing.
	ReasonInvalidPageToken Reason = "INVALID_PAGE_TOKEN"
	// ReasonRequestIDReused: the request id was used for another request to the session.
	ReasonRequestIDReused Reason = "REQUEST_ID_REUSED"
	// ReasonInvalidRequest: another argument is wrong; metadata "field" names it.
	ReasonInvalidRequest Reason = "INVALID_REQUEST"
	// ReasonRevisionMismatch: a check did not hold; FailedChecks has every one. Read again and retry.
	ReasonRevisionMismatch Reason = "REVISION_MISMATCH"
	// ReasonValueTypeMismatch: the stored value has another type than the change needs.
	ReasonValueTypeMismatch Reason = "VALUE_TYPE_MISMATCH"
	// ReasonSessionNotFound: the session to fork or to restore is not there.
	ReasonSessionNotFound Reason = "SESSION_NOT_FOUND"
	// ReasonSessionExists: the session to fork into is there already.
	ReasonSessionExists Reason = "SESSION_EXISTS"
	// ReasonHistoryCompacted: the revision is no longer kept; metadata "oldest_revision" is the oldest that
	// is.
	ReasonHistoryCompacted Reason = "HISTORY_COMPACTED"
	// ReasonFutureRevision: the revision is not made yet; metadata "current_revision" is the last.
	ReasonFutureRevision Reason = "FUTURE_REVISION"
	// ReasonNumberOutOfRange: an increment's result can't be kept exactly.
	ReasonNumberOutOfRange Reason = "NUMBER_OUT_OF_RANGE"
	// ReasonValueTooLarge: a value is over the limit; metadata "limit" and "actual" are in bytes.
	ReasonValueTooLarge Reason = "VALUE_TOO_LARGE"
	// ReasonRequestTooLarge: the request, or its answer, is over a limit.
	ReasonRequestTooLarge Reason = "REQUEST_TOO_LARGE"
	// ReasonSessionTooLarge: the session would grow over the limit, or is too large for one answer: read it
	// with ListState.
	ReasonSessionTooLarge Reason = "SESSION_TOO_LARGE"
	// ReasonTooManyEntries: the session would have too many entries.
	ReasonTooManyEntries Reason = "TOO_MANY_ENTRIES"
	// ReasonRateLimited: the caller asks too fast.
	ReasonRateLimited Reason = "RATE_LIMITED"
	// ReasonStorageFull: the store is full.
	ReasonStorageFull Reason = "STORAGE_FULL"
	// ReasonStoreUnavailable: the service can't be reached or can't answer now; a write did not happen.
	ReasonStoreUnavailable Reason = "STORE_UNAVAILABLE"
	// ReasonOutcomeUnknown: the write may or may not have happened: retry it with the same request id.
	ReasonOutcomeUnknown Reason = "OUTCOME_UNKNOWN"
	// ReasonShuttingDown: the service is stopping, or this client was closed.
	ReasonShuttingDown Reason = "SHUTTING_DOWN"
	// ReasonUnauthenticated: who is calling can't be told.
	ReasonUnauthenticated Reason = "UNAUTHENTICATED"
	// ReasonPermissionDenied: the caller may not do that.
	ReasonPermissionDenied Reason = "PERMISSION_DENIED"
	// ReasonValueUnreadable: a stored value can't be decrypted: the key is missing, or the value was changed.
	ReasonValueUnreadable Reason = "VALUE_UNREADABLE"
)

// codeOfReason has the status code of each reason.
var codeOfReason = map[Reason]connect.Code{
	ReasonInvalidSessionID:  connect.CodeInvalidArgument,
	ReasonInvalidKey:        connect.CodeInvalidArgument,
	ReasonInvalidValue:      connect.CodeInvalidArgument,
	ReasonInvalidPageToken:  connect.CodeInvalidArgument,
	ReasonRequestIDReused:   connect.CodeInvalidArgument,
	ReasonInvalidRequest:    connect.CodeInvalidArgument,
	ReasonRevisionMismatch:  connect.CodeAborted,
	ReasonValueTypeMismatch: connect.CodeFailedPrecondition,
	ReasonSessionNotFound:   connect.CodeNotFound,
	ReasonSessionExists:     connect.CodeAlreadyExists,
	ReasonHistoryCompacted:  connect.CodeOutOfRange,
	ReasonFutureRevision:    connect.CodeOutOfRange,
	ReasonNumberOutOfRange:  connect.CodeOutOfRange,
	ReasonValueTooLarge:     connect.CodeResourceExhausted,
	ReasonRequestTooLarge:   connect.CodeResourceExhausted,
	ReasonSessionTooLarge:   connect.CodeResourceExhausted,
	ReasonTooManyEntries:    connect.CodeResourceExhausted,
	ReasonRateLimited:       connect.CodeResourceExhausted,
	ReasonStorageFull:       connect.CodeResourceExhausted,
	ReasonStoreUnavailable:  connect.CodeUnavailable,
	ReasonOutcomeUnknown:    connect.CodeUnavailable,
	ReasonShuttingDown:      connect.CodeUnavailable,
	ReasonUnauthenticated:   connect.CodeUnauthenticated,
	ReasonPermissionDenied:  connect.CodePermissionDenied,
	ReasonValueUnreadable:   connect.CodeFailedPrecondition,
}

// A FailedCheck is a check that did not hold.
type FailedCheck struct {
	// Key is the key; empty: the session's own IfRevision.
	Key string
	// IfRevision is the revision that was asked for.
	IfRevision int64
	// ActualRevision is the revision that is there; 0: absent.
	ActualRevision int64
}

// An Error is what every call fails with. Decide by its Reason, not by its text: messages may change. It
// never holds a stored value. A call that ended with its context unwraps to [context.Canceled] or
// [context.DeadlineExceeded].
type Error struct {
	// Reason says why the call failed.
	Reason Reason
	// Code is the status code that belongs to the reason.
	Code connect.Code
	// Message says what was wrong and what to do, for a person.
	Message string
	// Metadata has facts by name: path, field, key, limit, actual, oldest_revision, current_revision.
	Metadata map[string]string
	// FailedChecks has every check that did not hold; empty unless the reason is REVISION_MISMATCH.
	FailedChecks []FailedCheck

	cause error
}

// Error gives the reason and the message.
func (e *Error) Error() string {
	return string(e.Reason) + ": " + e.Message
}

// Unwrap gives the error underneath, if there is one.
func (e *Error) Unwrap() error {
	return e.cause
}

// ReasonOf gives the reason of an error that a client gave; empty if it is none.
func ReasonOf(err error) Reason {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Reason
	}
	return ""
}

func newError(reason Reason, message string, cause error) *Error {
	return &Error{Reason: reason, Code: codeOfReason[reason], Message: message, cause: cause}
}

// invalid is the error of an argument that is wrong before anything is sent.
func invalid(reason Reason, field, message string) *Error {
	failure := newError(reason, message, nil)
	failure.Metadata = map[string]string{"field": field}
	return failure
}
