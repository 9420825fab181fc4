// Package service has what the samples run against: the service at the URL that the command line names, or
// one of their own.
package service

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// With calls a function with the URL of a service; one that was started for it is stopped afterwards.
func With(url string, run func(url string) error) (err error) {
	if url != "" {
		return run(url)
	}
	checkout, err := findCheckout()
	if err != nil {
		return err
	}
	node := filepath.Join(checkout, "node_modules", ".bin", "node")
	if _, err := os.Stat(node); err != nil {
		return errors.New("the service needs its packages: run `npm ci` in the checkout first")
	}
	server := exec.Command(node, "src/cli.ts", "serve", "--listen", "127.0.0.1:0")
	server.Dir = checkout
	server.Stderr = os.Stderr
	output, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		stopped := server.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, stopped, server.Wait())
	}()
	// "listening on http://127.0.0.1:PORT"
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the service has not begun: %w", err)
	}
	return run(strings.TrimPrefix(strings.TrimSpace(line), "listening on "))
}

// findCheckout looks from the working folder upwards.
func findCheckout() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "src", "cli.ts")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("run this within the checkout, or give it the URL of a service")
		}
		folder = parent
	}
}
