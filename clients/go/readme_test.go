package workflowstate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// In front of the examples that go on from the first.
const goOn = `package main

import (
	"context"
	"fmt"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

func main() {
	ctx := context.Background()
	client, err := workflowstate.New("http://127.0.0.1:7410")
	if err != nil {
		panic(err)
	}
	defer client.Close()
	{
`

func TestTheExamplesOfTheReadmePrintWhatTheySay(t *testing.T) {
	service := running(t)
	text := string(must[[]byte](t)(os.ReadFile("README.md")))
	examples := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(text, -1)
	equal(t, len(examples), 5)
	says := regexp.MustCompile(`(?m)^\s*fmt\.Println\(.*\) // (.*)$`)
	for number, example := range examples {
		program := example[1]
		if number > 0 {
			program = goOn + program + "}\n}\n"
		}
		file := filepath.Join(t.TempDir(), "main.go")
		program = strings.ReplaceAll(program, "http://127.0.0.1:7410", service.url)
		noError(t, os.WriteFile(file, []byte(program), 0o600))
		expected := ""
		for _, said := range says.FindAllStringSubmatch(example[1], -1) {
			expected += said[1] + "\n"
		}
		printed, err := exec.Command("go", "run", file).CombinedOutput()
		if err != nil {
			t.Fatalf("example %d: %v\n%s", number+1, err, printed)
		}
		equal(t, expected != "", true)
		equal(t, string(printed), expected)
	}
}
