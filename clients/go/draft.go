package workflowstate

import (
	"iter"
	"maps"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

const (
	// A commit takes so many checks by default, and a key so many bytes.
	maxChecks   = 1000
	maxKeyBytes = 512
)

// A Draft is a session's state to change, as [Client.Update] gives it to its function.
//
// Maps and the items of lists in it can be changed in place. What was looked at is checked by the commit, so
// that it is made only if that is unchanged; who lists the keys or counts them has looked at everything. It
// is for one goroutine.
type Draft struct {
	seen map[string]*statev1.Entry
	// Keys that were looked at or written, in that order.
	touched []string
	// The values of those that were read or written.
	values map[string]any
	// Which of them are gone.
	gone       map[string]bool
	isTouched  map[string]bool
	enumerated bool
	closed     bool
}

func newDraft(seen map[string]*statev1.Entry) *Draft {
	return &Draft{seen: seen, values: map[string]any{}, gone: map[string]bool{}, isTouched: map[string]bool{}}
}

// Get gives a value; nil if there is none. A stored null is nil, too: [Draft.Lookup] tells them apart.
func (d *Draft) Get(key string) any {
	value, _ := d.Lookup(key)
	return value
}

// Lookup gives a value, and whether there is one.
func (d *Draft) Lookup(key string) (any, bool) {
	d.touch(key)
	if !d.has(key) {
		return nil, false
	}
	if _, known := d.values[key]; !known {
		d.values[key] = fromValue(d.seen[key].GetValue())
	}
	return d.values[key], true
}

// Decode writes a value into what a pointer points to, as [Entry.Decode] does, and says whether there is one.
func (d *Draft) Decode(key string, into any) (bool, error) {
	value, found := d.Lookup(key)
	if !found {
		return false, nil
	}
	return true, decode(value, key, into)
}

// Set writes a value. What can't be kept fails the update.
func (d *Draft) Set(key string, value any) {
	d.write(key)
	delete(d.gone, key)
	d.values[key] = value
}

// Delete removes a key. One that is absent is no error.
func (d *Draft) Delete(key string) {
	d.write(key)
	delete(d.values, key)
	d.gone[key] = true
}

// Keys gives all keys, in order.
func (d *Draft) Keys() []string {
	d.enumerated = true
	keys := slices.Collect(maps.Keys(d.seen))
	for key := range d.values {
		if _, seen := d.seen[key]; !seen {
			keys = append(keys, key)
		}
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return d.gone[key] })
	slices.Sort(keys)
	return keys
}

// Len gives how many keys there are.
func (d *Draft) Len() int {
	return len(d.Keys())
}

// All gives all keys with their values, in the order of the keys.
func (d *Draft) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, key := range d.Keys() {
			if value, found := d.Lookup(key); found && !yield(key, value) {
				return
			}
		}
	}
}

func (d *Draft) touch(key string) {
	if !d.isTouched[key] {
		d.isTouched[key] = true
		d.touched = append(d.touched, key)
	}
}

func (d *Draft) has(key string) bool {
	if _, known := d.values[key]; known {
		return true
	}
	return d.seen[key] != nil && !d.gone[key]
}

func (d *Draft) write(key string) {
	if d.closed {
		// It would be lost without a word.
		panic("workflowstate: a draft can't be changed when its update has ended")
	}
	d.touch(key)
}

// commit gives what is to be committed to the session, which is at that revision; nil: nothing was changed.
func (d *Draft) commit(sessionID string, revision int64) (*Commit, error) {
	commit := NewCommit(sessionID)
	for _, key := range d.touched {
		before := d.seen[key]
		if d.gone[key] {
			if before != nil {
				commit.Delete(key)
			}
			continue
		}
		value, known := d.values[key]
		if !known {
			continue
		}
		after, err := toValue(value, key)
		if err != nil {
			return nil, err
		}
		if before == nil || !proto.Equal(before.GetValue(), after) {
			commit.add(setTo(key, after))
		}
	}
	if len(commit.request.GetChanges()) == 0 {
		return nil, nil
	}
	if d.enumerated || len(d.touched) > maxChecks {
		return commit.IfRevision(revision), nil
	}
	for _, key := range d.touched {
		// What can't be a key can't appear either; one that was written is refused with the changes.
		if len(key) >= 1 && len(key) <= maxKeyBytes && utf8.ValidString(key) {
			commit.Check(key, d.seen[key].GetRevision())
		}
	}
	return commit, nil
}

func setTo(key string, value *structpb.Value) *statev1.Change {
	return &statev1.Change{Change: &statev1.Change_Set{Set: &statev1.SetChange{Key: key, Value: value}}}
}
