package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
	"go.yaml.in/yaml/v4"
)

func encode(provider config.Provider) (string, error) {
	return provider.EncodeString(encoder.WithComments(encoder.CommentsDisabled))
}

// decode reads a config and writes it as Talos would.
func decode(r request, a *answer) error {
	provider, err := configloader.NewFromBytes([]byte(r.Config))
	if err != nil {
		return err
	}

	a.Text, err = encode(provider)

	return err
}

// canonical is a config as plain values, in a list of its documents: JSON sorts their keys.
func canonical(r request, a *answer) error {
	if err := decode(r, a); err != nil {
		return err
	}

	documents := yaml.NewDecoder(bytes.NewReader([]byte(a.Text)))
	list := []any{}

	for {
		var document map[string]any

		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}

		if err != nil {
			return err
		}

		list = append(list, document)
	}

	a.Text, a.Canonical = "", list

	return nil
}

// patch lays patches over a config, each as a file that `talosctl` is given. The base is read
// first, as `talosctl machineconfig patch` does not, so that what is wrong with it shows.
func patch(r request, a *answer) error {
	base, err := configloader.NewFromBytes([]byte(r.Config))
	if err != nil {
		return fmt.Errorf("base: %w", err)
	}

	patches := make([]configpatcher.Patch, 0, len(r.Patches))

	for _, text := range r.Patches {
		loaded, err := configpatcher.LoadPatch([]byte(text))
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}

		patches = append(patches, loaded)
	}

	out, err := configpatcher.Apply(configpatcher.WithConfig(base), patches)
	if err != nil {
		return err
	}

	patched, err := out.Config()
	if err != nil {
		return err
	}

	a.Text, err = encode(patched)

	return err
}

// mode is where a machine runs, by `talosctl validate`'s names.
type mode string

func (m mode) String() string        { return string(m) }
func (m mode) RequiresInstall() bool { return m == "metal" }
func (m mode) InContainer() bool     { return m == "container" }

func validate(r request, a *answer) error {
	provider, err := configloader.NewFromBytes([]byte(r.Config))
	if err != nil {
		return err
	}

	options := []validation.Option{validation.WithLocal()}
	if r.Strict {
		options = append(options, validation.WithStrict())
	}

	warnings, err := validateLocally(provider, mode(r.Mode), options...)
	a.Warnings, a.Errors = warnings, split(err)

	return nil
}
