package workflowstate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"connectrpc.com/connect"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

const (
	closedMessage  = "This client was closed."
	unknownMessage = "The write may or may not have happened; retry it with the same request id."
)

// reasonOfCode says what a status without a detail means, where that does not depend on the call.
var reasonOfCode = map[connect.Code]Reason{
	connect.CodeInvalidArgument:   ReasonInvalidRequest,
	connect.CodeResourceExhausted: ReasonRequestTooLarge,
	connect.CodeUnauthenticated:   ReasonUnauthenticated,
	connect.CodePermissionDenied:  ReasonPermissionDenied,
}

// ofProxies has the codes that a proxy gives too, for its own statuses: without a reason they are not the
// store's word.
var ofProxies = map[connect.Code]bool{
	connect.CodeUnimplemented:     true,
	connect.CodeNotFound:          true,
	connect.CodeResourceExhausted: true,
}

// failure gives whatever a call ended with as the client's error. What can't be known of a write is
// OUTCOME_UNKNOWN.
func (c *Client) failure(ctx context.Context, err error, write bool) *Error {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure
	}
	if c.life.Err() != nil {
		return newError(unsaid(write), closedMessage, err)
	}
	if status, ok := errors.AsType[*connect.Error](err); ok {
		if failure := failureOfStatus(status); failure != nil {
			return failure
		}
	}
	cause := causeOf(ctx, err)
	switch {
	case write:
		return newError(ReasonOutcomeUnknown, unknownMessage, cause)
	case errors.Is(cause, context.Canceled):
		return newError(ReasonStoreUnavailable, "The call was cancelled.", cause)
	case errors.Is(cause, context.DeadlineExceeded):
		return newError(ReasonStoreUnavailable, "The call's time ran out.", cause)
	}
	return newError(ReasonStoreUnavailable, unreachable(cause), cause)
}

// unreachable says why there was no answer, where the network or TLS says so: these texts hold addresses and
// names only.
func unreachable(cause error) string {
	message := "The service can't be reached or did not answer; retry later"
	if network, ok := errors.AsType[*net.OpError](cause); ok {
		return message + ": " + network.Error() + "."
	}
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](cause); ok {
		return message + ": " + untrusted.Error() + "."
	}
	return message + "."
}

// failureOfStatus gives what a status says by its detail or its code; nil: it leaves open what happened.
func failureOfStatus(status *connect.Error) *Error {
	message := status.Message()
	if detail := detailOf(status); detail != nil {
		if message == "" {
			message = "The call has failed."
		}
		return errorOf(detail, status.Code(), message, status)
	}
	if reason, ok := reasonOfCode[status.Code()]; ok {
		if message == "" {
			message = "The service refused the call."
		}
		return newError(reason, message, status)
	}
	if status.Code() == connect.CodeUnimplemented || status.Code() == connect.CodeNotFound {
		// It will be so the next time too: no reason to retry.
		message := "There is no such call at this address: check the URL, and that the service is not older " +
			"than this client."
		return newError(ReasonInvalidRequest, message, status)
	}
	return nil
}

func detailOf(status *connect.Error) *statev1.ErrorDetail {
	for _, packed := range status.Details() {
		message, err := packed.Value()
		if err != nil {
			continue
		}
		if detail, ok := message.(*statev1.ErrorDetail); ok && detail.GetReason() != 0 {
			return detail
		}
	}
	return nil
}

// errorOf gives the error that a detail describes. A reason that this client does not know keeps its number.
func errorOf(detail *statev1.ErrorDetail, code connect.Code, message string, cause error) *Error {
	reason := Reason(fmt.Sprintf("UNKNOWN_%d", detail.GetReason()))
	if name, ok := statev1.ErrorReason_name[int32(detail.GetReason())]; ok {
		reason = Reason(strings.TrimPrefix(name, "ERROR_REASON_"))
	}
	if known, ok := codeOfReason[reason]; ok {
		code = known
	}
	failure := &Error{
		Reason: reason, Code: code, Message: message, Metadata: detail.GetMetadata(), cause: cause,
	}
	for _, check := range detail.GetFailedChecks() {
		failure.FailedChecks = append(failure.FailedChecks, FailedCheck{
			Key: check.GetKey(), IfRevision: check.GetIfRevision(), ActualRevision: check.GetActualRevision(),
		})
	}
	return failure
}

// causeOf has an error that came with the end of its context say so to errors.Is, also where the service saw
// the deadline first.
func causeOf(ctx context.Context, err error) error {
	end := ctx.Err()
	if end == nil && connect.IsWireError(err) && connect.CodeOf(err) == connect.CodeDeadlineExceeded {
		if _, limited := ctx.Deadline(); limited {
			end = context.DeadlineExceeded
		}
	}
	if end == nil || errors.Is(err, end) {
		return err
	}
	return fmt.Errorf("%w: %w", end, err)
}

// unsaid is the reason of a call whose end is not known.
func unsaid(write bool) Reason {
	if write {
		return ReasonOutcomeUnknown
	}
	return ReasonStoreUnavailable
}

// stillUnknown gives the failure of a write of which an earlier attempt may have been done.
func stillUnknown(failure *Error) *Error {
	if failure.Reason == ReasonOutcomeUnknown || !failure.beforeTheStore() {
		return failure
	}
	return newError(ReasonOutcomeUnknown, unknownMessage, failure)
}

// beforeTheStore says whether it is not the store's word: then it doesn't say how an earlier attempt ended.
func (e *Error) beforeTheStore() bool {
	switch e.Reason {
	case ReasonUnauthenticated, ReasonPermissionDenied, ReasonRateLimited:
		// Decided before the service looks at a request id.
		return true
	}
	status, ok := e.cause.(*connect.Error)
	return e.unavailable() || ok && ofProxies[status.Code()] && detailOf(status) == nil
}

// unavailable says whether it may go better when tried again.
func (e *Error) unavailable() bool {
	return e.Code == connect.CodeUnavailable
}

// leavesOpen says whether a write that failed so may have been made: also for a reason that is not known
// here.
func (e *Error) leavesOpen() bool {
	_, known := codeOfReason[e.Reason]
	return e.Reason == ReasonOutcomeUnknown || e.unavailable() && !known
}
