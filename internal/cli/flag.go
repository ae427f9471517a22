package cli

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/vublk/vublk/internal/export"
)

// optionFlag makes a flag of an export's option.
type optionFlag struct {
	option     export.Option
	definition *export.Definition
}

var _ pflag.Value = (*optionFlag)(nil)

func (f *optionFlag) String() string {
	if f.definition == nil {
		return "" // pflag asks a zero value
	}
	return f.option.Get(f.definition)
}

func (f *optionFlag) Set(value string) error {
	return export.Under("--", f.option.Set(f.definition, value))
}

func (f *optionFlag) Type() string { return f.option.Value }

// AddOptions adds the flags for the options whose key keep accepts; they write into d.
func AddOptions(flags *pflag.FlagSet, d *export.Definition, keep func(export.Option) bool) {
	for _, o := range export.Options() {
		if !keep(o) {
			continue
		}
		f := flags.VarPF(&optionFlag{option: o, definition: d}, o.Key, "", o.Usage)
		if o.Bool {
			f.NoOptDefVal = "on"
		}
		Group(flags, o.Group, o.Key)
	}
}

// Choice is a flag with a fixed set of values.
type Choice struct {
	name   string
	value  string
	values []string
}

// AddChoice adds a flag that takes one of values.
func AddChoice(flags *pflag.FlagSet, name, usage, byDefault string, values ...string) *Choice {
	c := &Choice{name: name, value: byDefault, values: values}
	flags.Var(c, name, usage)
	return c
}

func (c *Choice) String() string { return c.value }

// Set implements pflag.Value.
func (c *Choice) Set(value string) error {
	for _, v := range c.values {
		if v == value {
			c.value = v
			return nil
		}
	}
	return &export.OptionError{Option: "--" + c.name, Value: value, Reason: "unknown value", Remedy: "take " + alternatives(c.values)}
}

// Type implements pflag.Value.
func (c *Choice) Type() string { return strings.Join(c.values, "|") }

// alternatives joins words: "a, b or c".
func alternatives(words []string) string {
	text := words[0]
	for i, w := range words[1:] {
		if i == len(words)-2 {
			text += " or " + w
		} else {
			text += ", " + w
		}
	}
	return text
}
