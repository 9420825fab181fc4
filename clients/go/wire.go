package workflowstate

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// newRequestID makes a request id that no other call has.
func newRequestID() string {
	var id [16]byte
	// Never fails.
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// checkText finds text in a request that a message can't hold: gRPC would call it a failure of its own.
// Values are checked where they are made.
func checkText(request proto.Message) error {
	var failure *Error
	var look func(message protoreflect.Message)
	check := func(field protoreflect.FieldDescriptor, text string) {
		if !utf8.ValidString(text) {
			failure = invalid(reasonOfField(field.Name()), string(field.Name()),
				string(field.Name())+" is not well-formed Unicode: text is UTF-8.")
		}
	}
	inspect := func(field protoreflect.FieldDescriptor, value protoreflect.Value) {
		switch {
		case field.Kind() == protoreflect.StringKind:
			check(field, value.String())
		case field.Kind() == protoreflect.MessageKind && field.Message().FullName() != valueName:
			look(value.Message())
		}
	}
	look = func(message protoreflect.Message) {
		message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			switch {
			case field.IsList():
				for index := range value.List().Len() {
					inspect(field, value.List().Get(index))
				}
			case field.IsMap():
				value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
					check(field, key.String())
					inspect(field.MapValue(), value)
					return failure == nil
				})
			default:
				inspect(field, value)
			}
			return failure == nil
		})
	}
	look(request.ProtoReflect())
	if failure != nil {
		return failure
	}
	return nil
}

var valueName = (&structpb.Value{}).ProtoReflect().Descriptor().FullName()

func reasonOfField(name protoreflect.Name) Reason {
	switch name {
	case "session_id", "new_session_id":
		return ReasonInvalidSessionID
	case "key", "state":
		return ReasonInvalidKey
	}
	return ReasonInvalidRequest
}

// toDuration rounds away from zero to the millisecond, so that what is short, or over since a moment ago, does
// not become "none".
func toDuration(span time.Duration) *durationpb.Duration {
	whole := span.Truncate(time.Millisecond)
	switch {
	case whole < span && span > 0:
		whole += time.Millisecond
	case whole > span:
		whole -= time.Millisecond
	}
	return durationpb.New(whole)
}

func fromTimestamp(message *timestamppb.Timestamp) time.Time {
	if message == nil {
		return time.Time{}
	}
	return message.AsTime()
}

func toState(state map[string]any) (map[string]*structpb.Value, error) {
	messages := make(map[string]*structpb.Value, len(state))
	for key, value := range state {
		message, err := toValue(value, key)
		if err != nil {
			return nil, err
		}
		messages[key] = message
	}
	return messages, nil
}

func entryOf(message *statev1.Entry) *Entry {
	if message == nil {
		return nil
	}
	return &Entry{
		Key:        message.GetKey(),
		Value:      fromValue(message.GetValue()),
		Revision:   message.GetRevision(),
		UpdateTime: fromTimestamp(message.GetUpdateTime()),
		ExpireTime: fromTimestamp(message.GetExpireTime()),
		Deleted:    message.GetValue() == nil,
	}
}

func entriesOf(messages []*statev1.Entry) []*Entry {
	entries := make([]*Entry, len(messages))
	for index, message := range messages {
		entries[index] = entryOf(message)
	}
	return entries
}

func sessionOf(message *statev1.Session) *Session {
	if message == nil {
		return nil
	}
	session := &Session{
		SessionID:  message.GetSessionId(),
		State:      fromFields(message.GetState()),
		Revision:   message.GetRevision(),
		CreateTime: fromTimestamp(message.GetCreateTime()),
		UpdateTime: fromTimestamp(message.GetUpdateTime()),
		WorkflowID: message.GetWorkflowId(),
		UserID:     message.GetUserId(),
		Labels:     make(map[string]string, len(message.GetLabels())),
		ExpireTime: fromTimestamp(message.GetExpireTime()),
	}
	for name, label := range message.GetLabels() {
		session.Labels[name] = label
	}
	if from := message.GetForkedFrom(); from != nil {
		session.ForkedFrom = &ForkedFrom{SessionID: from.GetSessionId(), Revision: from.GetRevision()}
	}
	return session
}

func sessionsOf(messages []*statev1.Session) []*Session {
	sessions := make([]*Session, len(messages))
	for index, message := range messages {
		sessions[index] = sessionOf(message)
	}
	return sessions
}

func eventOf(message *statev1.Event) *Event {
	return &Event{
		SessionID: message.GetSessionId(),
		Revision:  message.GetRevision(),
		Time:      fromTimestamp(message.GetTime()),
		Kind:      kindOf(message.GetKind()),
		Entries:   entriesOf(message.GetEntries()),
		RequestID: message.GetRequestId(),
	}
}

func eventsOf(messages []*statev1.Event) []*Event {
	events := make([]*Event, len(messages))
	for index, message := range messages {
		events[index] = eventOf(message)
	}
	return events
}

func kindOf(kind statev1.EventKind) EventKind {
	if name, ok := statev1.EventKind_name[int32(kind)]; ok && kind != 0 {
		return EventKind(strings.TrimPrefix(name, "EVENT_KIND_"))
	}
	return EventUnknown
}

// watchMessageOf gives false for a message of a kind that this client does not know.
func watchMessageOf(message *statev1.WatchSessionResponse) (WatchMessage, bool) {
	switch kind := message.GetMessage().(type) {
	case *statev1.WatchSessionResponse_Event:
		return WatchMessage{Revision: kind.Event.GetRevision(), Event: eventOf(kind.Event)}, true
	case *statev1.WatchSessionResponse_Snapshot:
		return WatchMessage{Revision: kind.Snapshot.GetRevision(), Snapshot: sessionOf(kind.Snapshot)}, true
	case *statev1.WatchSessionResponse_Progress:
		return WatchMessage{Revision: kind.Progress.GetRevision()}, true
	}
	return WatchMessage{}, false
}

func committedOf(message *statev1.CommitResponse) *Committed {
	return &Committed{
		Revision:   message.GetRevision(),
		UpdateTime: fromTimestamp(message.GetUpdateTime()),
		Entries:    entriesOf(message.GetEntries()),
	}
}

func deletionOf(message *statev1.DeleteStateResponse) *Deletion {
	return &Deletion{Deleted: message.GetDeleted(), Revision: message.GetRevision()}
}
