package workflowstate

import (
	"connectrpc.com/connect"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// An Operation is one part of a batch: made by [GetOp], [SetOp], [DeleteOp] and [GetSessionOp], or a
// [*Commit].
type Operation interface {
	operation() (*statev1.Operation, error)
}

// A Result is what an operation of a batch answered.
type Result struct {
	// Entry is the answer of a GetOp, nil if there is none, and of a SetOp.
	Entry *Entry
	// Deletion is the answer of a DeleteOp.
	Deletion *Deletion
	// Committed is the answer of a Commit.
	Committed *Committed
	// Session is the answer of a GetSessionOp; nil if there is none.
	Session *Session
	// Err is an [*Error] if the operation failed; the others stand.
	Err error
}

type operationFunc func() (*statev1.Operation, error)

func (f operationFunc) operation() (*statev1.Operation, error) {
	return f()
}

// GetOp reads one entry.
func GetOp(sessionID, key string, options ...GetOption) Operation {
	return operationFunc(func() (*statev1.Operation, error) {
		request := getState(sessionID, key, options)
		return &statev1.Operation{Operation: &statev1.Operation_GetState{GetState: request}}, nil
	})
}

// SetOp writes one entry.
func SetOp(sessionID, key string, value any, options ...SetOption) Operation {
	return operationFunc(func() (*statev1.Operation, error) {
		request, err := setState(sessionID, key, value, options)
		return &statev1.Operation{Operation: &statev1.Operation_SetState{SetState: request}}, err
	})
}

// DeleteOp deletes one entry.
func DeleteOp(sessionID, key string, options ...DeleteOption) Operation {
	return operationFunc(func() (*statev1.Operation, error) {
		request := deleteState(sessionID, key, options)
		return &statev1.Operation{Operation: &statev1.Operation_DeleteState{DeleteState: request}}, nil
	})
}

// GetSessionOp reads a session.
func GetSessionOp(sessionID string, options ...GetSessionOption) Operation {
	return operationFunc(func() (*statev1.Operation, error) {
		request := getSession(sessionID, options)
		return &statev1.Operation{Operation: &statev1.Operation_GetSession{GetSession: request}}, nil
	})
}

func (c *Commit) operation() (*statev1.Operation, error) {
	request, err := c.message()
	return &statev1.Operation{Operation: &statev1.Operation_Commit{Commit: request}}, err
}

func toOperations(operations []Operation) ([]*statev1.Operation, error) {
	messages := make([]*statev1.Operation, len(operations))
	for index, operation := range operations {
		if operation == nil {
			return nil, invalid(ReasonInvalidRequest, "operations", "An operation can't be nil.")
		}
		message, err := operation.operation()
		if err != nil {
			return nil, err
		}
		messages[index] = message
	}
	return messages, nil
}

// writes says whether any of the operations writes.
func writes(operations []*statev1.Operation) bool {
	for _, operation := range operations {
		if operation.GetGetState() == nil && operation.GetGetSession() == nil {
			return true
		}
	}
	return false
}

// resultsOf gives the results of a batch, one for each operation.
func resultsOf(messages []*statev1.Result, operations []*statev1.Operation) ([]Result, error) {
	if len(messages) != len(operations) {
		return nil, newError(unsaid(writes(operations)),
			"The service's answer has not one result for each operation.", nil)
	}
	results := make([]Result, len(messages))
	for index, message := range messages {
		results[index] = resultOf(message, operations[index:index+1])
	}
	return results, nil
}

func resultOf(message *statev1.Result, operation []*statev1.Operation) Result {
	switch result := message.GetResult().(type) {
	case *statev1.Result_GetState:
		return Result{Entry: entryOf(result.GetState.GetEntry())}
	case *statev1.Result_SetState:
		return Result{Entry: entryOf(result.SetState.GetEntry())}
	case *statev1.Result_DeleteState:
		return Result{Deletion: deletionOf(result.DeleteState)}
	case *statev1.Result_Commit:
		return Result{Committed: committedOf(result.Commit)}
	case *statev1.Result_GetSession:
		return Result{Session: sessionOf(result.GetSession.GetSession())}
	}
	detail := message.GetError()
	if detail.GetReason() == 0 {
		return Result{Err: newError(unsaid(writes(operation)),
			"The service's answer to the operation is of a kind that this client does not know.", nil)}
	}
	return Result{Err: errorOf(detail, connect.CodeUnknown, detail.GetMessage(), nil)}
}
