//go:build talos112 || talos113

package main

import (
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
)

func validateLocally(provider config.Provider, mode validation.RuntimeMode, options ...validation.Option) ([]string, error) {
	return provider.Validate(mode, options...)
}

func validateBundle(bundle *secrets.Bundle, _ *config.VersionContract) error {
	return bundle.Validate()
}

func bundleFromConfig(provider config.Provider) (*secrets.Bundle, error) {
	return secrets.NewBundleFromConfig(secrets.NewClock(), provider), nil
}
