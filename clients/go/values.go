package workflowstate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// Numbers are doubles on the wire: up to here every whole one is exact.
	largestInt = 1 << 53
	// Levels of a value; a scalar has one.
	maxDepth = 32
	// A longer path, or name in it, is cut.
	longestPath = 1000
	longestName = 100
)

// toValue gives a value as a message. What can't be kept fails with INVALID_VALUE and its path; a key is
// named in the error.
func toValue(value any, key string) (*structpb.Value, error) {
	message, fault := encode(value, maxDepth)
	if fault != nil {
		return nil, fault.error(key)
	}
	return message, nil
}

// fromValue gives a message as a value of its own: changing it changes nothing else.
func fromValue(message *structpb.Value) any {
	switch kind := message.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_NumberValue:
		return kind.NumberValue
	case *structpb.Value_BoolValue:
		return kind.BoolValue
	case *structpb.Value_StructValue:
		return fromFields(kind.StructValue.GetFields())
	case *structpb.Value_ListValue:
		items := make([]any, len(kind.ListValue.GetValues()))
		for index, item := range kind.ListValue.GetValues() {
			items[index] = fromValue(item)
		}
		return items
	}
	return nil
}

func fromFields(fields map[string]*structpb.Value) map[string]any {
	members := make(map[string]any, len(fields))
	for key, member := range fields {
		members[key] = fromValue(member)
	}
	return members
}

// decode writes a value into what a pointer points to, as encoding/json does. A key is named in the error.
func decode(value any, key string, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return invalid(ReasonInvalidRequest, "into", "A value is decoded into a pointer that is not nil.")
	}
	text, err := json.Marshal(value)
	if err != nil {
		if _, err := toValue(value, key); err != nil {
			return err
		}
		return (&fault{what: "can't be written as JSON"}).error(key)
	}
	if err = json.Unmarshal(text, into); err == nil {
		return nil
	}
	// The error's text may hold the value.
	misfit := &fault{what: notA(target.Type().Elem())}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		misfit.what = notA(mismatch.Type)
		misfit.steps, _ = stepsTo(json.NewDecoder(bytes.NewReader(text)), mismatch.Offset)
	}
	return misfit.error(key)
}

func notA(kind reflect.Type) string {
	return fmt.Sprintf("is not what it is read as (%s)", kind)
}

// stepsTo gives the steps, from the inside out, to what a JSON text has at an offset, and whether the next
// value is or holds it.
func stepsTo(text *json.Decoder, offset int64) ([]string, bool) {
	token, err := text.Token()
	if err != nil || text.InputOffset() >= offset {
		return nil, true
	}
	opening, ok := token.(json.Delim)
	if !ok {
		return nil, false
	}
	for index := 0; text.More(); index++ {
		last := "[" + strconv.Itoa(index) + "]"
		if opening == '{' {
			if token, err = text.Token(); err != nil || text.InputOffset() >= offset {
				return nil, true
			}
			name, _ := token.(string)
			last = step(name)
		}
		if steps, found := stepsTo(text, offset); found {
			return append(steps, last), true
		}
	}
	_, err = text.Token()
	return nil, err != nil
}

// encode takes the types that values come back as first; others that hold the same follow by reflection.
func encode(value any, levels int) (*structpb.Value, *fault) {
	switch value := value.(type) {
	case nil:
		return structpb.NewNullValue(), nil
	case bool:
		return structpb.NewBoolValue(value), nil
	case string:
		if !utf8.ValidString(value) {
			return nil, &fault{what: "is not well-formed Unicode: text is UTF-8"}
		}
		return structpb.NewStringValue(value), nil
	case float64:
		return encodeFloat(value)
	case json.Number:
		// A string to Go's type system, a number to everybody else.
		return nil, &fault{what: "is a json.Number: pass it as float64, int64 or string"}
	case []any:
		return encodeList(reflect.ValueOf(value), len(value), levels-1)
	case map[string]any:
		return encodeMap(reflect.ValueOf(value), levels-1)
	}
	return encodeOther(reflect.ValueOf(value), levels)
}

func encodeOther(value reflect.Value, levels int) (*structpb.Value, *fault) {
	switch value.Kind() {
	case reflect.Bool:
		return structpb.NewBoolValue(value.Bool()), nil
	case reflect.String:
		return encode(value.String(), levels)
	case reflect.Float32, reflect.Float64:
		return encodeFloat(value.Float())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if number := value.Int(); number < -largestInt || number > largestInt {
			return nil, beyond()
		}
		return structpb.NewNumberValue(float64(value.Int())), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if value.Uint() > largestInt {
			return nil, beyond()
		}
		return structpb.NewNumberValue(float64(value.Uint())), nil
	case reflect.Slice:
		if value.Type().Elem().Kind() != reflect.Uint8 {
			return encodeList(value, value.Len(), levels-1)
		}
	case reflect.Map:
		if value.Type().Key().Kind() == reflect.String {
			return encodeMap(value, levels-1)
		}
	}
	return nil, &fault{what: fmt.Sprintf("is of the type %s, which would not come back: %s",
		value.Type(), instead(value.Type()))}
}

func instead(kind reflect.Type) string {
	switch {
	case kind.Kind() == reflect.Slice:
		return "pass it as a base64 string"
	case kind.Kind() == reflect.Map:
		return "the keys of an object are strings"
	case kind.PkgPath() == "time":
		return "pass it as a string"
	}
	return "a value is nil, bool, a number, string, []any or map[string]any"
}

func encodeFloat(number float64) (*structpb.Value, *fault) {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return nil, &fault{what: "is not a finite number"}
	}
	if number == 0 {
		// -0 becomes 0.
		number = 0
	}
	return structpb.NewNumberValue(number), nil
}

func beyond() *fault {
	return &fault{what: "is an integer beyond 2^53, which a number can't hold exactly: pass it as a string"}
}

func encodeList(items reflect.Value, length, levels int) (*structpb.Value, *fault) {
	list := &structpb.ListValue{Values: make([]*structpb.Value, length)}
	for index := range length {
		member, fault := encodeMember(items.Index(index), levels)
		if fault != nil {
			return nil, fault.within(items, "["+strconv.Itoa(index)+"]")
		}
		list.Values[index] = member
	}
	return structpb.NewListValue(list), nil
}

func encodeMap(members reflect.Value, levels int) (*structpb.Value, *fault) {
	object := &structpb.Struct{Fields: make(map[string]*structpb.Value, members.Len())}
	for each := members.MapRange(); each.Next(); {
		key := each.Key().String()
		if !utf8.ValidString(key) {
			return nil, &fault{what: "has a key that is not well-formed Unicode: text is UTF-8"}
		}
		member, fault := encodeMember(each.Value(), levels)
		if fault != nil {
			return nil, fault.within(members, step(key))
		}
		object.Fields[key] = member
	}
	return structpb.NewStructValue(object), nil
}

func encodeMember(member reflect.Value, levels int) (*structpb.Value, *fault) {
	if levels <= 0 {
		return nil, &fault{what: "is too deep: a value has 32 levels at most"}
	}
	return encode(member.Interface(), levels)
}

// A fault is what is wrong with a value, and where: the steps to it, from the inside out.
type fault struct {
	what       string
	steps      []string
	containers []uintptr
}

// within adds the container that the fault is in.
func (f *fault) within(container reflect.Value, step string) *fault {
	for _, other := range f.containers {
		if other == container.Pointer() {
			// Too deep because it has no end.
			f.what = "holds itself"
			f.steps = nil
			break
		}
	}
	f.containers = append(f.containers, container.Pointer())
	f.steps = append(f.steps, step)
	return f
}

func (f *fault) error(key string) *Error {
	var path strings.Builder
	path.WriteString("$")
	for index := len(f.steps) - 1; index >= 0; index-- {
		if path.Len() > longestPath {
			path.WriteString("…")
			break
		}
		path.WriteString(f.steps[index])
	}
	where := "The value"
	if path.Len() > 1 {
		where = "The value at " + path.String()
	}
	failure := newError(ReasonInvalidValue, where+" "+f.what+".", nil)
	failure.Metadata = map[string]string{"path": path.String()}
	if key != "" {
		failure.Metadata["key"] = key
	}
	return failure
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// step gives the way to a member, as a path shows it.
func step(key string) string {
	if len(key) <= longestName && identifier.MatchString(key) {
		return "." + key
	}
	if runes := []rune(key); len(runes) > longestName {
		key = string(runes[:longestName]) + "…"
	}
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	// A string can always be encoded.
	_ = encoder.Encode(key)
	return "[" + strings.TrimSuffix(quoted.String(), "\n") + "]"
}
