package main

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"go.yaml.in/yaml/v4"
)

// controlplaneOnly is what a document says that Talos refuses on workers.
type controlplaneOnly interface{ ControlplaneOnlyDocument() }

// The interface by which a type says how it is merged.
type merger interface {
	Merge(other any) error
}

var (
	mergerType = reflect.TypeFor[merger]()
	yamlType   = reflect.TypeFor[yaml.Unmarshaler]()
	textType   = reflect.TypeFor[encoding.TextUnmarshaler]()
	oldType    = reflect.TypeFor[interface {
		UnmarshalYAML(func(any) error) error
	}]()
	zeroType = reflect.TypeFor[yaml.IsZeroer]()
)

type dump struct {
	lines   []string
	choices []string
	structs map[string]reflect.Type
	queue   []string
}

// schema prints what Talos' types look like to its decoder and its merger: one line a kind, then
// every struct and its fields.
func schema(kinds []string) string {
	d := &dump{structs: map[string]reflect.Type{}}
	kindLines := []string{"kind v1alpha1 " + d.name(reflect.TypeFor[v1alpha1.Config]())}

	for _, kind := range slices.Sorted(slices.Values(kinds)) {
		provider, err := configloader.NewFromBytes([]byte("apiVersion: v1alpha1\nkind: " + kind + "\n"))
		if err != nil {
			// a pair of links has to differ in their names before it is taken for a document at all
			provider, err = configloader.NewFromBytes([]byte("apiVersion: v1alpha1\nkind: " + kind + "\nname: a\npeer: {name: b}\n"))
		}

		if err != nil {
			continue
		}

		doc := provider.Documents()[0]
		line := "kind " + kind + " " + d.name(reflect.TypeOf(doc).Elem())

		if _, ok := doc.(config.NamedDocument); ok {
			line += " named"
		}

		if _, ok := doc.(controlplaneOnly); ok {
			line += " controlplane"
		}

		kindLines = append(kindLines, line)
	}

	for len(d.queue) > 0 {
		name := d.queue[0]
		d.queue = d.queue[1:]
		d.describe(name)
	}

	sort.Strings(kindLines)
	sort.Strings(d.choices)

	return strings.Join(slices.Concat(kindLines, slices.Compact(d.choices), d.lines), "\n") + "\n"
}

// name is a type's name, and sees to it that a struct is described.
func (d *dump) name(t reflect.Type) string {
	name := short(t)

	if t.Kind() == reflect.Struct {
		if _, ok := d.structs[name]; !ok {
			d.structs[name] = t
			d.queue = append(d.queue, name)
		}
	}

	return name
}

func (d *dump) describe(name string) {
	t := d.structs[name]
	head := "struct " + name

	if reflect.PointerTo(t).Implements(mergerType) {
		head += " merger"
	}

	d.lines = append(d.lines, head)
	d.fields(t)
}

func (d *dump) fields(t reflect.Type) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag, tagged := field.Tag.Lookup("yaml")
		parts := strings.Split(tag, ",")
		flags := ""
		inline := false

		for _, part := range parts[1:] {
			switch part {
			case "inline":
				inline = true
			case "omitempty", "omitzero", "flow":
				flags += " " + part
			}
		}

		if inline {
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}

			if inner.Kind() == reflect.Struct {
				d.fields(inner)

				continue
			}
		}

		if !field.IsExported() || parts[0] == "-" {
			continue
		}

		key := parts[0]
		if !tagged || key == "" {
			key = strings.ToLower(field.Name)
		}

		for part := range strings.SplitSeq(field.Tag.Get("merge"), ",") {
			if part == "replace" {
				flags += " replace"
			}
		}

		d.lines = append(d.lines, fmt.Sprintf("  %s %s%s", key, d.expression(field.Type), flags))
	}
}

// expression writes a type: `*T`, `[]T`, `{key}T`, `@struct`, or a plain name; `!` is one with a
// decoder of its own, `+` one with a merger of its own, `0` one that tells itself when it is empty.
func (d *dump) expression(t reflect.Type) string {
	prefix := ""

	if t.Kind() == reflect.Pointer {
		return "*" + d.expression(t.Elem())
	}

	if t.Name() != "" && t.PkgPath() != "" {
		if reflect.PointerTo(t).Implements(mergerType) && t.Kind() != reflect.Struct {
			prefix += "+"
		}

		if t.Implements(zeroType) || reflect.PointerTo(t).Implements(zeroType) {
			prefix += "0"
		}

		if own := reflect.PointerTo(t); own.Implements(yamlType) || own.Implements(textType) || own.Implements(oldType) {
			d.choice(t)

			return prefix + "!" + short(t) + "=" + t.Kind().String()
		}
	}

	return prefix + d.plain(t)
}

// choice lists the words of a type that has one for each of some numbers.
func (d *dump) choice(t reflect.Type) {
	value := reflect.New(t).Elem()
	text, ok := value.Interface().(fmt.Stringer)

	if _, own := reflect.New(t).Interface().(encoding.TextUnmarshaler); !ok || !own || t.Kind() == reflect.Slice || t.Kind() == reflect.Struct {
		return
	}

	line := "choice " + short(t)

	for number := range 1 << 16 {
		switch {
		case value.CanInt() && !value.OverflowInt(int64(number)):
			value.SetInt(int64(number))
		case value.CanUint() && !value.OverflowUint(uint64(number)):
			value.SetUint(uint64(number))
		default:
			continue
		}

		text, _ = value.Interface().(fmt.Stringer)
		if word := text.String(); !strings.Contains(word, "(") {
			line += fmt.Sprintf(" %d=%s", number, word)
		}
	}

	d.choices = append(d.choices, line)
}

// short is a type's name with the last part of its package's path.
func short(t reflect.Type) string {
	return t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:] + "." + t.Name()
}

func (d *dump) plain(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive
	case reflect.Struct:
		return "@" + d.name(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}

		return "[]" + d.expression(t.Elem())
	case reflect.Map:
		return "{" + d.expression(t.Key()) + "}" + d.expression(t.Elem())
	case reflect.Interface:
		return "any"
	default:
		if t.PkgPath() != "" {
			return t.Kind().String() + "=" + short(t)
		}

		return t.Kind().String()
	}
}
