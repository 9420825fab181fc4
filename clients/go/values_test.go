package workflowstate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	workflowstate "github.com/agenterra/workflow-state/clients/go"
)

type (
	list   = []any
	object = map[string]any
	status string
	level  int
)

func nested(levels int, innermost any) any {
	for range levels - 1 {
		innermost = object{"a": innermost}
	}
	return innermost
}

var kept = map[string]struct{ written, read any }{
	"nil":                    {nil, nil},
	"true":                   {true, true},
	"false":                  {false, false},
	"int":                    {7, 7.0},
	"int8":                   {int8(-8), -8.0},
	"int16":                  {int16(-16), -16.0},
	"int32":                  {int32(-32), -32.0},
	"int64":                  {int64(-64), -64.0},
	"uint":                   {uint(1), 1.0},
	"uint8":                  {uint8(8), 8.0},
	"uint16":                 {uint16(16), 16.0},
	"uint32":                 {uint32(32), 32.0},
	"uint64":                 {uint64(64), 64.0},
	"float32":                {float32(0.1), float64(float32(0.1))},
	"float64":                {0.1, 0.1},
	"largest int":            {int64(1 << 53), 9007199254740992.0},
	"smallest int":           {int64(-1 << 53), -9007199254740992.0},
	"largest uint":           {uint64(1 << 53), 9007199254740992.0},
	"largest float":          {math.MaxFloat64, math.MaxFloat64},
	"smallest float":         {math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64},
	"beyond 2^53 as a float": {1e300, 1e300},
	"minus zero":             {math.Copysign(0, -1), 0.0},
	"empty text":             {"", ""},
	"text":                   {"Käse 🧀 \x00\n", "Käse 🧀 \x00\n"},
	"empty list":             {list{}, list{}},
	"empty object":           {object{}, object{}},
	"nil list":               {list(nil), list{}},
	"nil object":             {object(nil), object{}},
	"nil slice":              {[]string(nil), list{}},
	"list":                   {list{1, "a", nil, list{}}, list{1.0, "a", nil, list{}}},
	"object":                 {object{"": 1, "__proto__": object{}}, object{"": 1.0, "__proto__": object{}}},
	"strings":                {[]string{"a", "b"}, list{"a", "b"}},
	"ints":                   {[]int{1, 2}, list{1.0, 2.0}},
	"objects":                {[]object{{"a": 1}}, list{object{"a": 1.0}}},
	"map of strings":         {map[string]string{"a": "b"}, object{"a": "b"}},
	"map of named":           {map[status]level{"a": 1}, object{"a": 1.0}},
	"named string":           {status("open"), "open"},
	"named int":              {level(3), 3.0},
	"duration":               {time.Second, 1e9},
	"deep":                   {nested(32, "x"), nested(32, "x")},
}

func TestValuesReadBackFromEveryCall(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		for name, value := range kept {
			entry := must[*workflowstate.Entry](t)(client.SetState(ctx, id, name, value.written))
			same(t, name+" from SetState", entry.Value, value.read)
			same(t, name+" from GetState", must[any](t)(client.GetState(ctx, id, name)), value.read)
		}
		session := must[*workflowstate.Session](t)(client.GetSession(ctx, id))
		equal(t, len(session.State), len(kept))
		for entry, err := range client.ListState(ctx, id) {
			noError(t, err)
			same(t, entry.Key+" from ListState", entry.Value, kept[entry.Key].read)
			same(t, entry.Key+" from GetSession", session.State[entry.Key], kept[entry.Key].read)
		}
		for event, err := range client.ListEvents(ctx, id) {
			noError(t, err)
			same(t, "an event", event.Entries[0].Value, kept[event.Entries[0].Key].read)
		}
		for message, err := range client.WatchSession(ctx, id) {
			noError(t, err)
			same(t, "a snapshot", any(message.Snapshot.State), any(session.State))
			break
		}
	})
}

func same(t *testing.T, what string, got, expected any) {
	t.Helper()
	if !reflect.DeepEqual(got, expected) {
		t.Fatalf("%s is %#v, not %#v", what, got, expected)
	}
	if number, ok := got.(float64); ok && math.Signbit(number) != math.Signbit(expected.(float64)) {
		t.Fatalf("%s has another sign", what)
	}
}

func TestRandomValuesReadBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	state := object{}
	for number := range 200 {
		state[fmt.Sprint(number)] = randomValue(random, 1+random.IntN(6))
	}
	must[*workflowstate.Session](t)(client.SaveSession(ctx, id, state))
	same(t, "the state", any(must[*workflowstate.Session](t)(client.GetSession(ctx, id)).State), any(state))
}

func randomValue(random *rand.Rand, levels int) any {
	kinds := 4
	if levels > 1 {
		kinds = 6
	}
	switch random.IntN(kinds) {
	case 0:
		return random.IntN(2) == 0
	case 1:
		number := math.Float64frombits(random.Uint64())
		if math.IsNaN(number) || math.IsInf(number, 0) || number == 0 {
			return 0.0
		}
		return number
	case 2:
		return randomText(random)
	case 4:
		items := list{}
		for range random.IntN(5) {
			items = append(items, randomValue(random, levels-1))
		}
		return items
	case 5:
		members := object{}
		for range random.IntN(5) {
			members[randomText(random)] = randomValue(random, levels-1)
		}
		return members
	}
	return nil
}

func randomText(random *rand.Rand) string {
	var text strings.Builder
	for range random.IntN(6) {
		// A surrogate becomes the replacement character.
		text.WriteRune(rune(random.IntN([]int{0x80, 0x800, 0x10000, 0x110000}[random.IntN(4)])))
	}
	return text.String()
}

func TestWhatWouldNotComeBackIsRefusedWithItsPath(t *testing.T) {
	self := list{1, nil}
	self[1] = object{"of": self}
	selfMap := object{}
	selfMap["me"] = list{selfMap}
	for name, refused := range map[string]struct {
		value any
		path  string
		says  string
	}{
		"an integer beyond 2^53":   {object{"n": int64(1<<53 + 1)}, "$.n", "beyond 2^53"},
		"one below":                {list{int64(-1<<53 - 1)}, "$[0]", "beyond 2^53"},
		"an unsigned one":          {uint64(math.MaxUint64), "$", "beyond 2^53"},
		"NaN":                      {object{"a b": math.NaN()}, `$["a b"]`, "finite"},
		"infinity":                 {list{list{}, math.Inf(1)}, "$[1]", "finite"},
		"bytes":                    {object{"of": list{[]byte("x")}}, "$.of[0]", "base64"},
		"a time":                   {time.Now(), "$", "as a string"},
		"a struct":                 {struct{ A int }{1}, "$", "struct"},
		"a pointer":                {new(1), "$", "*int"},
		"an array":                 {[2]int{}, "$", "[2]int"},
		"a channel":                {make(chan int), "$", "chan"},
		"a function":               {func() {}, "$", "func"},
		"a complex number":         {1i, "$", "complex"},
		"a json.Number":            {json.Number("1"), "$", "json.Number"},
		"a map with other keys":    {map[int]string{1: "a"}, "$", "keys"},
		"ill-formed text":          {object{"é\"": "\xff"}, `$["é\""]`, "UTF-8"},
		"an ill-formed key":        {object{"in": object{"\xc3": 1}}, "$.in", "UTF-8"},
		"too deep":                 {nested(33, 1), "$" + strings.Repeat(".a", 32), "32 levels"},
		"a list that holds itself": {self, "$[1]", "holds itself"},
		"an object that does":      {object{"x": selfMap}, "$.x.me", "holds itself"},
		"a name too long to repeat": {
			object{strings.Repeat("é", 101): math.NaN()}, `$["` + strings.Repeat("é", 100) + `…"]`, "finite",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
			_, err := client.SetState(ctx, id, "key", refused.value)
			failure := fails(t, err, workflowstate.ReasonInvalidValue)
			equal(t, failure.Metadata["path"], refused.path)
			equal(t, failure.Metadata["key"], "key")
			if !strings.Contains(failure.Message, refused.says) {
				t.Fatalf("%s does not say %q", failure.Message, refused.says)
			}
			// Wherever else a value is written.
			_, err = client.SaveSession(ctx, id, object{"key": refused.value})
			fails(t, err, workflowstate.ReasonInvalidValue)
			_, err = client.Commit(ctx, workflowstate.NewCommit(id).Increment("n", 1).Append("key", 1, refused.value))
			fails(t, err, workflowstate.ReasonInvalidValue)
			_, err = client.Batch(ctx, workflowstate.SetOp(id, "key", refused.value))
			fails(t, err, workflowstate.ReasonInvalidValue)
			err = client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
				draft.Set("key", refused.value)
				return nil
			})
			fails(t, err, workflowstate.ReasonInvalidValue)
			if session := must[*workflowstate.Session](t)(client.GetSession(ctx, id)); session != nil {
				t.Fatal("something was written")
			}
		})
	}
}

func TestTheServiceJudgesWhatTheClientLeavesToIt(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	_, err := client.SetState(ctx, id, "key", make([]bool, 10_001))
	fails(t, err, workflowstate.ReasonInvalidValue)
	_, err = client.SetState(ctx, id, "key", strings.Repeat("x", 1<<20))
	fails(t, err, workflowstate.ReasonValueTooLarge)
}

func TestAStoredNullIsNotAMissingKey(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *workflowstate.Client) {
		ctx, id := context.Background(), newSession(t)
		equal(t, must[any](t)(client.GetState(ctx, id, "k")), nil)
		equal(t, must[*workflowstate.Entry](t)(client.GetEntry(ctx, id, "k")), nil)
		must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", nil))
		equal(t, must[any](t)(client.GetState(ctx, id, "k")), nil)
		entry := must[*workflowstate.Entry](t)(client.GetEntry(ctx, id, "k"))
		equal(t, entry != nil && !entry.Deleted && entry.Value == nil, true)
	})
}

func TestDecodeWritesIntoTypes(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	ada := object{"name": "Ada", "ages": []int{1, 2}}
	entry := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "k", ada))
	var person struct {
		Name string `json:"name"`
		Ages []int  `json:"ages"`
	}
	noError(t, entry.Decode(&person))
	equal(t, fmt.Sprint(person), "{Ada [1 2]}")
}

func TestDecodeSaysWhereAValueDoesNotFitAndNotWhatItIs(t *testing.T) {
	client, ctx, id := connect(t, shared.url), context.Background(), newSession(t)
	type person struct {
		Ages []int     `json:"ages"`
		Born time.Time `json:"born"`
	}
	for name, misfit := range map[string]struct {
		value      any
		into       any
		path, says string
	}{
		"an object into a slice": {object{"secret": 1}, new([]string), "$", "[]string"},
		"a fraction":             {object{"ages": list{1, 4711.5}}, new(person), "$.ages[1]", "(int)"},
		"text deep in lists":     {list{list{0}, list{1, "secret"}}, new([][]int), "$[1][1]", "(int)"},
		"a list":                 {object{"a b": list{"secret"}}, new(map[string]string), `$["a b"]`, "(string)"},
		"a key":                  {object{"in": object{"secret": 1}}, new(map[string]map[int]int), "$.in", "(int)"},
		"a time":                 {object{"born": "secret"}, new(person), "$", "person"},
		"a number out of range":  {4711, new(int8), "$", "int8"},
	} {
		t.Run(name, func(t *testing.T) {
			entry := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "key", misfit.value))
			noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
				_, inDraft := draft.Decode("key", misfit.into)
				for _, err := range []error{entry.Decode(misfit.into), inDraft} {
					failure := fails(t, err, workflowstate.ReasonInvalidValue)
					equal(t, failure.Metadata["path"], misfit.path)
					equal(t, failure.Metadata["key"], "key")
					equal(t, strings.Contains(failure.Message, misfit.says), true)
					for _, secret := range []string{"secret", "4711"} {
						equal(t, strings.Contains(fmt.Sprintf("%v %+v", failure, failure), secret), false)
					}
					equal(t, errors.Unwrap(failure), nil)
				}
				return nil
			}))
		})
	}
	entry := must[*workflowstate.Entry](t)(client.SetState(ctx, id, "key", 1))
	for _, into := range []any{nil, 1, (*int)(nil)} {
		equal(t, fails(t, entry.Decode(into), workflowstate.ReasonInvalidRequest).Metadata["field"], "into")
	}
	noError(t, client.Update(ctx, id, func(_ context.Context, draft *workflowstate.Draft) error {
		draft.Set("bad", list{math.NaN()})
		_, err := draft.Decode("bad", new([]any))
		equal(t, fails(t, err, workflowstate.ReasonInvalidValue).Metadata["path"], "$[0]")
		draft.Delete("bad")
		return nil
	}))
}
