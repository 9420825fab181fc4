// Workflow is a workflow whose steps die and are run again:
//
//	go run -C samples/go ./workflow [URL] [--seed N]
//
// Each step is a process of its own that keeps what it has done in the service and nowhere else. The workflow
// runs twice: once undisturbed, and once with its steps killed (SIGKILL) at random in the middle of their
// work and run again until they are through. Both must end in the same state: no order lost, and none counted
// twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	"github.com/agenterra/workflow-state/samples/go/internal/service"
)

func main() {
	err := command(os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	flags := flag.NewFlagSet("workflow", flag.ContinueOnError)
	seed := flags.Uint64("seed", rand.Uint64N(1<<32), "of the kills")
	step := flags.String("step", "", "run one step of the workflow, as the engine does: STEP SESSION")
	var words []string
	for rest := args; ; {
		if err := flags.Parse(rest); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		// Flags may come behind a word, too.
		words, rest = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	switch {
	case *step != "" && len(words) == 2:
		return runStep(words[0], *step, words[1])
	case *step == "" && len(words) <= 1:
		return service.With(strings.Join(words, ""), func(url string) error { return compare(url, *seed) })
	}
	return errors.New("usage: workflow [URL] [--seed N]")
}

// compare runs the workflow undisturbed and disturbed, and fails unless both end alike.
func compare(url string, seed uint64) error {
	client, err := workflowstate.New(url)
	if err != nil {
		return err
	}
	defer client.Close()
	undisturbed, err := runOnce(url, client, "undisturbed", nil)
	if err != nil {
		return err
	}
	disturbed, err := runOnce(url, client, "disturbed  ", rand.New(rand.NewPCG(seed, 0)))
	if err != nil {
		return err
	}
	if disturbed.kills == 0 {
		return fmt.Errorf("no step was killed (seed %d)", seed)
	}
	// Not only the same state: not one write more.
	report, _ := undisturbed.state["report"].(map[string]any)
	same := reflect.DeepEqual(disturbed.state, undisturbed.state) && disturbed.writes == undisturbed.writes
	if !same || report["orders"] != float64(orders) {
		return fmt.Errorf("same state   false (seed %d)", seed)
	}
	fmt.Println("same state   true")
	return nil
}

// An end is what a workflow has left.
type end struct {
	state  map[string]any
	writes int
	kills  int64
}

func runOnce(url string, client *workflowstate.Client, name string, chaos *rand.Rand) (*end, error) {
	ctx := context.Background()
	session := fmt.Sprintf("workflow-%016x%016x", rand.Uint64(), rand.Uint64())
	engine := &engine{url: url, client: client, session: session, chaos: chaos}
	if err := engine.run(ctx); err != nil {
		return nil, err
	}
	end := &end{kills: engine.kills.Load()}
	left, err := client.GetSession(ctx, session)
	if err != nil {
		return nil, err
	}
	if left != nil {
		end.state = left.State
	}
	for _, err := range client.ListEvents(ctx, session) {
		if err != nil {
			return nil, err
		}
		end.writes++
	}
	fmt.Printf("%s  %d steps, %d kills, %d writes\n", name, len(steps), end.kills, end.writes)
	_, err = client.DeleteSession(ctx, session)
	return end, err
}
