// Interop runs what every client must do alike: see interop/README.md.
//
//	interop COMMAND URL PROTOCOL PREFIX FILE
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

// A program is what the command line asks for.
type program struct {
	url      string
	protocol workflowstate.Protocol
	prefix   string
}

type vector struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// A verdict is a line of the output.
type verdict struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("usage: interop write|read|behave URL grpc|connect PREFIX FILE")
	}
	p := &program{url: args[1], prefix: args[3]}
	switch args[2] {
	case "grpc":
		p.protocol = workflowstate.ProtocolGRPC
	case "grpc-web":
		p.protocol = workflowstate.ProtocolGRPCWeb
	case "connect":
		p.protocol = workflowstate.ProtocolConnect
	default:
		return fmt.Errorf("there is no protocol %q", args[2])
	}
	text, err := os.ReadFile(args[4])
	if err != nil {
		return err
	}
	switch args[0] {
	case "write":
		return p.vectors(text, write)
	case "read":
		return p.vectors(text, read)
	case "behave":
		return p.behave(text)
	}
	return fmt.Errorf("there is no command %q", args[0])
}

func (p *program) client(url string, options ...workflowstate.Option) (*workflowstate.Client, error) {
	return workflowstate.New(url, append(options, workflowstate.WithProtocol(p.protocol))...)
}

// A handler gives what says of each vector how it went.
type handler func(
	ctx context.Context, client *workflowstate.Client, session string,
) (func(vector) error, error)

// vectors has a function handle all vectors, and prints what it says of each.
func (p *program) vectors(text []byte, handle handler) error {
	var file struct {
		Vectors []vector `json:"vectors"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	client, err := p.client(p.url)
	if err != nil {
		return err
	}
	defer client.Close()
	each, err := handle(context.Background(), client, p.prefix)
	if err != nil {
		return err
	}
	for _, vector := range file.Vectors {
		if err := report(vector.Name, each(vector)); err != nil {
			return err
		}
	}
	return nil
}

func write(ctx context.Context, client *workflowstate.Client, session string) (func(vector) error, error) {
	return func(vector vector) error {
		_, err := client.SetState(ctx, session, vector.Key, vector.Value)
		return err
	}, nil
}

func read(ctx context.Context, client *workflowstate.Client, session string) (func(vector) error, error) {
	listed := map[string]*workflowstate.Entry{}
	for entry, err := range client.ListState(ctx, session) {
		if err != nil {
			return nil, err
		}
		listed[entry.Key] = entry
	}
	return func(vector vector) error {
		entry, err := client.GetEntry(ctx, session, vector.Key)
		if err != nil {
			return err
		}
		found := map[string]*workflowstate.Entry{"GetState": entry, "ListState": listed[vector.Key]}
		for how, entry := range found {
			if entry == nil || entry.Deleted {
				return fmt.Errorf("%s has no such key", how)
			}
			if !identical(vector.Value, entry.Value) {
				return fmt.Errorf("%s gives another value: %.200v", how, shown(entry.Value))
			}
		}
		return nil
	}, nil
}

// identical says whether a value is to the bit what the file has.
func identical(expected, got any) bool {
	switch expected := expected.(type) {
	case float64:
		number, ok := got.(float64)
		if expected == 0 {
			// -0 reads as 0.
			expected = 0
		}
		return ok && math.Float64bits(number) == math.Float64bits(expected)
	case []any:
		items, ok := got.([]any)
		if !ok || len(items) != len(expected) {
			return false
		}
		for index := range expected {
			if !identical(expected[index], items[index]) {
				return false
			}
		}
		return true
	case map[string]any:
		members, ok := got.(map[string]any)
		if !ok || len(members) != len(expected) {
			return false
		}
		for key := range expected {
			member, found := members[key]
			if !found || !identical(expected[key], member) {
				return false
			}
		}
		return true
	}
	// nil, bool, string.
	return expected == got
}

func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func report(name string, failure error) error {
	line := verdict{Name: name, OK: failure == nil}
	if failure != nil {
		line.Message = failure.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(line)
}
