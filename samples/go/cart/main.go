// Cart is a workflow that stops and goes on, as samples/cart.ts is in TypeScript:
//
//	go run -C samples/go ./cart [URL]
//
// Each of its three runs is a process of its own, with its own connection; between them the cart lives in the
// service.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
	"github.com/agenterra/workflow-state/samples/go/internal/service"
)

const (
	cart    = "shopping-cart"
	theCopy = cart + "-copy"
)

func fill(ctx context.Context, client *workflowstate.Client) error {
	// What a run of this sample that was interrupted may have left.
	for _, id := range []string{cart, theCopy} {
		if _, err := client.DeleteSession(ctx, id); err != nil {
			return err
		}
	}

	if _, err := client.SetState(ctx, cart, "shopping_list", []string{"milk", "bread"}); err != nil {
		return err
	}
	if _, err := client.SetState(ctx, cart, "total_items", 2); err != nil {
		return err
	}

	session, err := client.GetSession(ctx, cart)
	if err != nil {
		return err
	}
	fmt.Println("  created     ", shownTime(session.CreateTime))
	return nil
}

func add(ctx context.Context, client *workflowstate.Client) error {
	if _, err := client.ForkSession(ctx, cart, theCopy); err != nil {
		return err
	}

	// Read, change, set: fine as long as nobody else writes to the cart meanwhile.
	var items []string
	entry, err := client.GetEntry(ctx, cart, "shopping_list")
	if err != nil {
		return err
	}
	if entry != nil {
		if err := entry.Decode(&items); err != nil {
			return err
		}
	}
	fmt.Println("  found       ", strings.Join(items, ", "))
	items = append(items, "eggs")
	if _, err := client.SetState(ctx, cart, "shopping_list", items); err != nil {
		return err
	}
	if _, err := client.SetState(ctx, cart, "total_items", len(items)); err != nil {
		return err
	}
	if err := show(ctx, client, "  read and set", cart); err != nil {
		return err
	}

	// The safe way, here on the copy: one atomic commit that the service computes, whoever else writes.
	commit := workflowstate.NewCommit(theCopy).Append("shopping_list", "eggs").Increment("total_items", 1)
	if _, err := client.Commit(ctx, commit); err != nil {
		return err
	}
	if err := show(ctx, client, "  one commit  ", theCopy); err != nil {
		return err
	}
	_, err = client.DeleteSession(ctx, theCopy)
	return err
}

func check(ctx context.Context, client *workflowstate.Client) error {
	session, err := client.GetSession(ctx, cart)
	if err != nil {
		return err
	}
	const expected = "{ shopping_list: [ 'milk', 'bread', 'eggs' ], total_items: 3 }"
	if session == nil || shown(session.State) != expected {
		return errors.New("the cart is not what the runs before have left")
	}
	items := []string{}
	for _, item := range session.State["shopping_list"].([]any) {
		items = append(items, item.(string))
	}
	fmt.Println("  list        ", strings.Join(items, ", "))
	fmt.Println("  total       ", session.State["total_items"])
	fmt.Println("  last updated", shownTime(session.UpdateTime))
	return nil
}

var runs = []func(context.Context, *workflowstate.Client) error{fill, add, check}

func show(ctx context.Context, client *workflowstate.Client, what, id string) error {
	session, err := client.GetSession(ctx, id)
	if err == nil && session != nil {
		fmt.Println(what, shown(session.State))
	}
	return err
}

// shown gives a value as the sample in TypeScript shows it.
func shown(value any) string {
	switch value := value.(type) {
	case map[string]any:
		members := []string{}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			members = append(members, key+": "+shown(value[key]))
		}
		return "{ " + strings.Join(members, ", ") + " }"
	case []any:
		items := []string{}
		for _, item := range value {
			items = append(items, shown(item))
		}
		return "[ " + strings.Join(items, ", ") + " ]"
	case string:
		return "'" + value + "'"
	}
	return fmt.Sprint(value)
}

func shownTime(moment time.Time) string {
	return moment.UTC().Format("2006-01-02T15:04:05.000Z")
}

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "--run":
		err = run(os.Args[2], os.Args[3])
	case len(os.Args) <= 2:
		err = service.With(strings.Join(os.Args[1:], ""), all)
	default:
		err = errors.New("usage: cart [URL]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is one of the processes.
func run(number, url string) error {
	fmt.Printf("run %s, process %d\n", number, os.Getpid())
	index, err := strconv.Atoi(number)
	if err != nil || index < 1 || index > len(runs) {
		return errors.New("there is no such run")
	}
	client, err := workflowstate.New(url)
	if err != nil {
		return err
	}
	defer client.Close()
	return runs[index-1](context.Background(), client)
}

// all has each run in a process of its own.
func all(url string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for index := range runs {
		process := exec.Command(program, "--run", strconv.Itoa(index+1), url)
		process.Stdout, process.Stderr = os.Stdout, os.Stderr
		if err := process.Run(); err != nil {
			return fmt.Errorf("run %d has failed: %w", index+1, err)
		}
	}
	client, err := workflowstate.New(url)
	if err != nil {
		return err
	}
	defer client.Close()
	ids, err := client.AllSessionIDs(context.Background())
	if err != nil {
		return err
	}
	list := make([]any, len(ids))
	for index, id := range ids {
		list[index] = id
	}
	fmt.Println("sessions      ", shown(list))
	deleted, err := client.DeleteSession(context.Background(), cart)
	fmt.Println("deleted       ", deleted)
	return err
}
