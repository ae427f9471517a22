package export

import (
	"strings"

	"github.com/pkg/errors"
)

// Parse makes a Definition of a comma-separated key=value list, the argument of --export, on top of base. A comma that
// belongs to a value is doubled, as in QEMU's options. A key without a value is "key=on".
func Parse(list string, base Definition) (Definition, error) {
	d := base
	seen := map[string]bool{}
	for _, field := range splitList(list) {
		key, value, found := strings.Cut(field, "=")
		option, err := lookUp(key)
		if err != nil {
			return Definition{}, err
		}
		if !found && !option.Bool {
			return Definition{}, &OptionError{Option: key, Reason: "needs a value", Remedy: "write " + key + "=" + option.Value}
		}
		if !found {
			value = "on"
		}
		if seen[key] {
			return Definition{}, &OptionError{Option: key, Value: value, Reason: "given twice", Remedy: "leave one out"}
		}
		seen[key] = true
		if err := option.Set(&d, value); err != nil {
			return Definition{}, err
		}
	}
	return d, nil
}

// lookUp finds the option called key.
func lookUp(key string) (Option, error) {
	var known []string
	for _, o := range Options() {
		if o.Key == key {
			return o, nil
		}
		known = append(known, o.Key)
	}
	remedy := "the keys are " + strings.Join(known, ", ")
	if near := Nearest(key, known); near != "" {
		remedy = "did you mean " + near + "?"
	}
	if key == "" {
		return Option{}, errors.New("an empty key; write key=value,key=value")
	}
	return Option{}, &OptionError{Option: key, Reason: "unknown key", Remedy: remedy}
}

// splitList cuts list at single commas and turns doubled ones into one.
func splitList(list string) []string {
	var fields []string
	var field strings.Builder
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] != ',':
			field.WriteByte(list[i])
		case i+1 < len(list) && list[i+1] == ',':
			field.WriteByte(',')
			i++
		default:
			fields = append(fields, field.String())
			field.Reset()
		}
	}
	return append(fields, field.String())
}
