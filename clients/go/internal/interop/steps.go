package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

// do does a step, and gives what came of it in the file's words.
func (p *player) do(ctx context.Context, client *workflowstate.Client, step step) (object, error) {
	session, key := p.prefix+step.text("session"), step.text("key")
	switch do := step.text("do"); do {
	case "set":
		asked := options[workflowstate.SetOption](step)
		entry, err := client.SetState(ctx, session, key, step["value"], asked...)
		if err != nil {
			return nil, err
		}
		return object{"revision": float64(entry.Revision)}, nil
	case "get":
		return get(ctx, client, session, key, step)
	case "delete":
		done, err := client.DeleteState(ctx, session, key, options[workflowstate.DeleteOption](step)...)
		if err != nil {
			return nil, err
		}
		return object{"deleted": done.Deleted, "revision": float64(done.Revision)}, nil
	case "commit":
		return commit(ctx, client, session, step)
	case "get_session":
		found, err := client.GetSession(ctx, session, options[workflowstate.GetSessionOption](step)...)
		if err != nil || found == nil {
			return object{"missing": true}, err
		}
		return sessionObject(found), nil
	case "save_session":
		state, _ := step["state"].(object)
		saved, err := client.SaveSession(ctx, session, state, options[workflowstate.SaveOption](step)...)
		if err != nil {
			return nil, err
		}
		return sessionObject(saved), nil
	case "delete_session":
		deleted, err := client.DeleteSession(ctx, session)
		return object{"deleted": deleted}, err
	case "fork":
		target := p.prefix + step.text("new_session")
		forked, err := client.ForkSession(ctx, session, target, options[workflowstate.ForkOption](step)...)
		if err != nil {
			return nil, err
		}
		return sessionObject(forked), nil
	case "update":
		return nil, update(ctx, client, session, step)
	case "events":
		return events(ctx, client, session, step)
	case "watch":
		return watch(ctx, client, session, step)
	case "sleep":
		ms, _ := step["ms"].(float64)
		time.Sleep(milliseconds(ms))
		return nil, nil
	default:
		return nil, fmt.Errorf("can't do %q", do)
	}
}

// options gives what a step says beyond what its call needs: each option that the step has and its call
// takes.
func options[Option any](step step) []Option {
	var found []Option
	add := func(option any) {
		if fitting, ok := option.(Option); ok {
			found = append(found, fitting)
		}
	}
	if revision, ok := step.revision("if_revision"); ok {
		add(workflowstate.IfRevision(revision))
	}
	if revision, ok := step.revision("at_revision"); ok {
		add(workflowstate.AtRevision(revision))
	}
	if revision, ok := step.revision("after_revision"); ok {
		add(workflowstate.AfterRevision(revision))
	}
	if ttl, ok := step["ttl_ms"].(float64); ok {
		add(workflowstate.TTL(milliseconds(ttl)))
	}
	if id, ok := step["request_id"].(string); ok {
		add(workflowstate.RequestID(id))
	}
	if prefix, ok := step["key_prefix"].(string); ok {
		add(workflowstate.KeyPrefix(prefix))
	}
	if labels, ok := step["labels"].(object); ok {
		add(workflowstate.Labels(texts(labels)))
	}
	return found
}

func get(ctx context.Context, client *workflowstate.Client, session, key string, step step) (object, error) {
	if timeout, ok := step["timeout_ms"].(float64); ok {
		limited, cancel := context.WithTimeout(ctx, milliseconds(timeout))
		defer cancel()
		ctx = limited
	}
	entry, err := client.GetEntry(ctx, session, key, options[workflowstate.GetOption](step)...)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return object{"missing": true}, nil
	}
	return object{"missing": false, "value": entry.Value, "revision": float64(entry.Revision)}, nil
}

func commit(
	ctx context.Context, client *workflowstate.Client, session string, step step,
) (object, error) {
	commit := workflowstate.NewCommit(session).RequestID(step.text("request_id"))
	if revision, ok := step.revision("if_revision"); ok {
		commit.IfRevision(revision)
	}
	if id, ok := step["workflow_id"].(string); ok {
		commit.WorkflowID(id)
	}
	if labels, ok := step["labels"].(object); ok {
		commit.Labels(texts(labels))
	}
	checks, _ := step["checks"].([]any)
	for _, check := range checks {
		check := check.(object)
		commit.Check(check["key"].(string), int64(check["if_revision"].(float64)))
	}
	changes, _ := step["changes"].([]any)
	for _, change := range changes {
		for kind, of := range change.(object) {
			if err := add(commit, kind, of.(object)); err != nil {
				return nil, err
			}
		}
	}
	committed, err := client.Commit(ctx, commit)
	if err != nil {
		return nil, err
	}
	entries := []any{}
	for _, entry := range committed.Entries {
		is := object{"key": entry.Key}
		if !entry.Deleted {
			is["value"] = entry.Value
		}
		entries = append(entries, is)
	}
	return object{"revision": float64(committed.Revision), "entries": entries}, nil
}

func add(commit *workflowstate.Commit, kind string, of object) error {
	key, _ := of["key"].(string)
	switch kind {
	case "set":
		commit.Set(key, of["value"], options[workflowstate.SetChangeOption](of)...)
	case "delete":
		commit.Delete(key)
	case "increment":
		commit.Increment(key, of["delta"].(float64))
	case "append":
		last, _ := of["max_items"].(float64)
		commit.AppendLast(key, int(last), of["values"].([]any)...)
	case "merge":
		commit.Merge(key, of["value"])
	default:
		return fmt.Errorf("there is no change %q", kind)
	}
	return nil
}

func update(ctx context.Context, client *workflowstate.Client, session string, step step) error {
	key, times := step.text("increment"), 1
	if number, ok := step["times"].(float64); ok {
		times = int(number)
	}
	ends := make(chan error)
	for range times {
		go func() {
			ends <- client.Update(ctx, session, func(_ context.Context, draft *workflowstate.Draft) error {
				count, _ := draft.Get(key).(float64)
				draft.Set(key, count+1)
				return nil
			})
		}()
	}
	var failures []error
	for range times {
		failures = append(failures, <-ends)
	}
	return errors.Join(failures...)
}

func events(ctx context.Context, client *workflowstate.Client, session string, step step) (object, error) {
	events := []any{}
	asked := append(options[workflowstate.ListEventsOption](step), workflowstate.PageSize(2))
	for event, err := range client.ListEvents(ctx, session, asked...) {
		if err != nil {
			return nil, err
		}
		events = append(events, eventObject(event))
	}
	return object{"events": events}, nil
}

func watch(
	ctx context.Context, client *workflowstate.Client, session string, step step,
) (object, error) {
	count, _ := step["count"].(float64)
	reconnect, _ := step["reconnect"].(bool)
	messages := []any{}
	asked := options[workflowstate.WatchSessionOption](step)
	for len(messages) < int(count) {
		for message, err := range client.WatchSession(ctx, session, asked...) {
			if err != nil {
				return nil, err
			}
			switch {
			case message.Snapshot != nil:
				messages = append(messages, object{"snapshot": sessionObject(message.Snapshot)})
			case message.Event != nil:
				messages = append(messages, object{"event": eventObject(message.Event)})
			default:
				continue
			}
			asked = append(asked, workflowstate.AfterRevision(message.Revision))
			if reconnect || len(messages) >= int(count) {
				break
			}
		}
	}
	return object{"messages": messages}, nil
}

func sessionObject(session *workflowstate.Session) object {
	labels := object{}
	for name, label := range session.Labels {
		labels[name] = label
	}
	return object{
		"missing":     false,
		"state":       session.State,
		"revision":    float64(session.Revision),
		"labels":      labels,
		"workflow_id": session.WorkflowID,
	}
}

func eventObject(event *workflowstate.Event) object {
	keys := []any{}
	for _, entry := range event.Entries {
		keys = append(keys, entry.Key)
	}
	return object{"revision": float64(event.Revision), "kind": string(event.Kind), "keys": keys}
}

func texts(labels object) map[string]string {
	texts := map[string]string{}
	for name, label := range labels {
		texts[name] = label.(string)
	}
	return texts
}
