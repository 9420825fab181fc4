package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

// No step takes longer, not even one that waits for what does not come.
const patience = 60 * time.Second

type testCase struct {
	Name  string `json:"name"`
	Steps []step `json:"steps"`
}

// A step is what a case does, as the file has it: what is absent is told from what is null.
type step map[string]any

// object is what a step gives back, to be compared with what the file expects.
type object = map[string]any

// A player plays the steps of one case.
type player struct {
	clients map[string]*workflowstate.Client
	prefix  string
}

func (p *program) behave(text []byte) error {
	var file struct {
		Clients map[string]struct{ URL, Token string } `json:"clients"`
		Cases   []testCase                             `json:"cases"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	clients := map[string]*workflowstate.Client{}
	for name, is := range file.Clients {
		var options []workflowstate.Option
		if is.Token != "" {
			options = append(options, workflowstate.WithToken(is.Token))
		}
		if is.URL == "" {
			is.URL = p.url
		}
		client, err := p.client(is.URL, options...)
		if err != nil {
			return err
		}
		defer client.Close()
		clients[name] = client
	}
	for number, testCase := range file.Cases {
		player := &player{clients: clients, prefix: fmt.Sprintf("%s-%d-", p.prefix, number)}
		if err := report(testCase.Name, player.play(testCase.Steps)); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) play(steps []step) error {
	for number, step := range steps {
		if err := p.check(step); err != nil {
			return fmt.Errorf("step %d (%s): %w", number, step.text("do"), err)
		}
	}
	return nil
}

// check does a step, and compares what comes of it with what the file says.
func (p *player) check(step step) error {
	name := step.text("client")
	if name == "" {
		name = "default"
	}
	client := p.clients[name]
	if client == nil {
		return fmt.Errorf("there is no client %q", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begin := time.Now()
	got, err := p.do(ctx, client, step)
	took := time.Since(begin)
	if limit, limited := step["within_ms"].(float64); limited && took > milliseconds(limit) {
		return fmt.Errorf("took %v", took)
	}
	expected, fails := step["error"].(object)
	switch {
	case fails && err == nil:
		return fmt.Errorf("succeeded, not %s", shown(expected))
	case fails:
		return compareError(expected, err)
	case err != nil:
		return err
	}
	if expected, said := step["expect"].(object); said {
		return compare("", expected, got)
	}
	return nil
}

// compare looks at all that is expected; members that the file does not have are not looked at.
func compare(path string, expected object, got object) error {
	for field, expected := range expected {
		path := path + "." + field
		value, found := got[field]
		if !found {
			return fmt.Errorf("%s is missing", path)
		}
		var err error
		switch field {
		case "snapshot", "event":
			err = compare(path, expected.(object), value.(object))
		case "messages", "events":
			err = compareAll(path, expected.([]any), value.([]any))
		default:
			if !identical(expected, value) {
				err = fmt.Errorf("%s is %s, not %s", path, shown(value), shown(expected))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func compareAll(path string, expected, got []any) error {
	if len(expected) != len(got) {
		return fmt.Errorf("%s has %d items, not %d: %s", path, len(got), len(expected), shown(got))
	}
	for index := range expected {
		err := compare(fmt.Sprintf("%s[%d]", path, index), expected[index].(object), got[index].(object))
		if err != nil {
			return err
		}
	}
	return nil
}

func compareError(expected object, err error) error {
	failure, ok := errors.AsType[*workflowstate.Error](err)
	if !ok {
		return err
	}
	got := object{
		"reason": string(failure.Reason),
		"code":   strings.ToUpper(failure.Code.String()),
	}
	if path, found := failure.Metadata["path"]; found {
		got["path"] = path
	}
	var checks []any
	for _, check := range failure.FailedChecks {
		checks = append(checks, object{
			"key":             check.Key,
			"if_revision":     float64(check.IfRevision),
			"actual_revision": float64(check.ActualRevision),
		})
	}
	for field, expected := range expected {
		if field == "failed_checks" {
			for _, check := range expected.([]any) {
				index := slices.IndexFunc(checks, func(got any) bool {
					return compare("", check.(object), got.(object)) == nil
				})
				if index < 0 {
					return fmt.Errorf("has not failed by the check %s: %w", shown(check), err)
				}
				checks = slices.Delete(checks, index, index+1)
			}
			if len(checks) > 0 {
				return fmt.Errorf("has failed by a check too much, %s: %w", shown(checks), err)
			}
		} else if !identical(expected, got[field]) {
			return fmt.Errorf("%s is %s, not %s: %w", field, shown(got[field]), shown(expected), err)
		}
	}
	return nil
}

func (s step) text(field string) string {
	text, _ := s[field].(string)
	return text
}

// revision gives a revision, and whether there is one.
func (s step) revision(field string) (int64, bool) {
	number, found := s[field].(float64)
	return int64(number), found
}

func milliseconds(number float64) time.Duration {
	return time.Duration(number * float64(time.Millisecond))
}
