package workflowstate

import (
	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// The requests of the service from arguments, writes with a request id. What the service can judge is left to
// it.

func getState(sessionID, key string, options []GetOption) *statev1.GetStateRequest {
	request := &statev1.GetStateRequest{SessionId: sessionID, Key: key}
	for _, option := range options {
		option.ofGet(request)
	}
	return request
}

func setState(sessionID, key string, value any, options []SetOption) (*statev1.SetStateRequest, error) {
	message, err := toValue(value, key)
	if err != nil {
		return nil, err
	}
	request := &statev1.SetStateRequest{SessionId: sessionID, Key: key, Value: message}
	for _, option := range options {
		option.ofSet(request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request, nil
}

func deleteState(sessionID, key string, options []DeleteOption) *statev1.DeleteStateRequest {
	request := &statev1.DeleteStateRequest{SessionId: sessionID, Key: key}
	for _, option := range options {
		option.ofDelete(request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request
}

func getSession(sessionID string, options []GetSessionOption) *statev1.GetSessionRequest {
	request := &statev1.GetSessionRequest{SessionId: sessionID}
	for _, option := range options {
		option.ofGetSession(request)
	}
	return request
}

func saveSession(
	sessionID string, state map[string]any, options []SaveOption,
) (*statev1.SaveSessionRequest, error) {
	messages, err := toState(state)
	if err != nil {
		return nil, err
	}
	request := &statev1.SaveSessionRequest{Session: &statev1.Session{SessionId: sessionID, State: messages}}
	for _, option := range options {
		option.ofSave(request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request, nil
}

func deleteSession(sessionID string, options []DeleteSessionOption) *statev1.DeleteSessionRequest {
	request := &statev1.DeleteSessionRequest{SessionId: sessionID}
	for _, option := range options {
		option.ofDeleteSession(request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request
}

func forkSession(sessionID, newSessionID string, options []ForkOption) *statev1.ForkSessionRequest {
	request := &statev1.ForkSessionRequest{SessionId: sessionID, NewSessionId: newSessionID}
	for _, option := range options {
		option.ofFork(request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request
}

func restoreSession(sessionID string, at int64, options []RestoreOption) *statev1.RestoreSessionRequest {
	request := &statev1.RestoreSessionRequest{SessionId: sessionID, AtRevision: at}
	for _, option := range options {
		option.ofRestore(request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = newRequestID()
	}
	return request
}

func listState(sessionID string, options []ListStateOption) *statev1.ListStateRequest {
	request := &statev1.ListStateRequest{SessionId: sessionID}
	for _, option := range options {
		option.ofListState(request)
	}
	return request
}

func listSessions(options []ListSessionsOption) *statev1.ListSessionsRequest {
	request := &statev1.ListSessionsRequest{}
	for _, option := range options {
		option.ofListSessions(request)
	}
	return request
}

func listEvents(sessionID string, options []ListEventsOption) *statev1.ListEventsRequest {
	request := &statev1.ListEventsRequest{SessionId: sessionID}
	for _, option := range options {
		option.ofListEvents(request)
	}
	return request
}
