package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

// plan has the steps that come after each other; those in one line run at the same time.
var plan = [][]string{{"receive"}, {"charge"}, {"pack", "label"}, {"report"}}

const mostKills = 2

// An engine runs the steps of a workflow, each until it is through.
type engine struct {
	url     string
	client  *workflowstate.Client
	session string
	// chaos says when to kill; nil: never.
	chaos *rand.Rand
	kills atomic.Int64
}

func (e *engine) run(ctx context.Context) error {
	for _, line := range plan {
		ends := make(chan error)
		for _, step := range line {
			// Drawn here, so that a seed always means the same.
			deaths := e.deaths(step)
			go func() { ends <- e.runStep(ctx, step, deaths) }()
		}
		var failures []error
		for range line {
			failures = append(failures, <-ends)
		}
		if err := errors.Join(failures...); err != nil {
			return err
		}
	}
	return nil
}

// deaths says, for each time that a step is to be killed, after how many writes.
func (e *engine) deaths(step string) []int {
	if e.chaos == nil || step == "report" {
		return nil
	}
	deaths := make([]int, 1+e.chaos.IntN(mostKills))
	for index := range deaths {
		deaths[index] = 1 + e.chaos.IntN(orders/3)
	}
	return deaths
}

func (e *engine) runStep(ctx context.Context, step string, deaths []int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for {
		// Before the step begins, so that all of its writes are seen.
		session, err := e.client.GetSession(ctx, e.session, workflowstate.KeyPrefix("no key has this"))
		if err != nil {
			return err
		}
		revision := int64(0)
		if session != nil {
			revision = session.Revision
		}
		process := exec.Command(program, "--step", step, e.url, e.session)
		process.Stdout, process.Stderr = os.Stdout, os.Stderr
		if err := process.Start(); err != nil {
			return err
		}
		if len(deaths) == 0 {
			err = process.Wait()
		} else {
			err = e.disturbed(ctx, process, revision, deaths[0])
			deaths = deaths[1:]
		}
		if err == nil {
			return nil
		}
		status, ok := process.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			return fmt.Errorf("the step %s has failed: %w", step, err)
		}
		e.kills.Add(1)
	}
}

// disturbed waits for a process, and kills it when so much has been written, if it comes to that.
func (e *engine) disturbed(ctx context.Context, process *exec.Cmd, revision int64, writes int) error {
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- e.killAfter(ctx, process, revision, writes) }()
	ended := process.Wait()
	// The killer may still wait for a write.
	stop()
	if err := <-watched; err != nil && !errors.Is(err, context.Canceled) {
		return errors.Join(err, ended)
	}
	return ended
}

func (e *engine) killAfter(ctx context.Context, process *exec.Cmd, revision int64, writes int) error {
	for message, err := range e.client.WatchSession(ctx, e.session, workflowstate.AfterRevision(revision)) {
		if err != nil {
			return err
		}
		if message.Event != nil {
			writes--
		}
		if writes == 0 {
			break
		}
	}
	if err := process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
