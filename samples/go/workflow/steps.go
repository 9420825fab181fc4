package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

const orders = 12

// An order is what the workflow is about.
type order struct {
	ID     string  `json:"id"`
	Amount float64 `json:"amount"`
}

// A step can be killed between any two of its instructions, and is then run again from its beginning. There
// are three ways to make that harmless.
type step func(ctx context.Context, client *workflowstate.Client, session string) error

var steps = map[string]step{
	"receive": receive, "charge": charge, "pack": pack, "label": label, "report": report,
}

// receive takes orders in. A request id of its own makes each write count once, however often it is sent.
func receive(ctx context.Context, client *workflowstate.Client, session string) error {
	for number := range orders {
		taken := map[string]any{"id": fmt.Sprintf("order-%d", number), "amount": 5 + number%3}
		commit := workflowstate.NewCommit(session).RequestID(fmt.Sprintf("receive-%d", number))
		if _, err := client.Commit(ctx, commit.Append("orders", taken)); err != nil {
			return err
		}
	}
	return nil
}

// charge charges orders: two changes in one atomic write, again with a request id.
func charge(ctx context.Context, client *workflowstate.Client, session string) error {
	return eachOrder(ctx, client, session, func(order order) error {
		commit := workflowstate.NewCommit(session).RequestID("charge-" + order.ID)
		_, err := client.Commit(ctx, commit.Increment("balance", order.Amount).Append("ledger", order.ID))
		return err
	})
}

// pack packs orders: an update that looks whether it is done already, in the same atomic step.
func pack(ctx context.Context, client *workflowstate.Client, session string) error {
	return eachOrder(ctx, client, session, func(order order) error {
		return client.Update(ctx, session, func(_ context.Context, draft *workflowstate.Draft) error {
			packed, _ := draft.Get("packed").([]any)
			if slices.Contains(packed, any(order.ID)) {
				return nil
			}
			draft.Set("packed", append(packed, order.ID))
			parcels, _ := draft.Get("parcels").(float64)
			draft.Set("parcels", parcels+1)
			return nil
		})
	})
}

// label labels orders: a write under the check that the label is not there yet.
func label(ctx context.Context, client *workflowstate.Client, session string) error {
	return eachOrder(ctx, client, session, func(order order) error {
		key := "label/" + order.ID
		commit := workflowstate.NewCommit(session).Check(key, 0)
		_, err := client.Commit(ctx, commit.Set(key, "to "+order.ID).Increment("labels", 1))
		if workflowstate.ReasonOf(err) == workflowstate.ReasonRevisionMismatch {
			return nil
		}
		return err
	})
}

// report sums up. Writing the same again changes nothing.
func report(ctx context.Context, client *workflowstate.Client, session string) error {
	return client.Update(ctx, session, func(_ context.Context, draft *workflowstate.Draft) error {
		sum := map[string]any{}
		for _, name := range []string{"balance", "labels", "parcels"} {
			sum[name] = draft.Get(name)
		}
		taken, _ := draft.Get("orders").([]any)
		sum["orders"] = len(taken)
		draft.Set("report", sum)
		return nil
	})
}

func eachOrder(
	ctx context.Context, client *workflowstate.Client, session string, do func(order) error,
) error {
	entry, err := client.GetEntry(ctx, session, "orders")
	if err != nil {
		return err
	}
	if entry == nil {
		return errors.New("there are no orders")
	}
	var all []order
	if err := entry.Decode(&all); err != nil {
		return err
	}
	for _, order := range all {
		if err := do(order); err != nil {
			return err
		}
	}
	return nil
}

// runStep is a process.
func runStep(url, name, session string) error {
	step, found := steps[name]
	if !found {
		return fmt.Errorf("there is no step %q", name)
	}
	client, err := workflowstate.New(url)
	if err != nil {
		return err
	}
	defer client.Close()
	return step(context.Background(), client, session)
}
