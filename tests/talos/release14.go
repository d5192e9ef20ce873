//go:build talos114

package main

import (
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
)

func withKubeSpan() generate.Option {
	return generate.WithKubeSpanEnabled(true)
}

func validateLocally(provider config.Provider, mode validation.RuntimeMode, options ...validation.Option) ([]string, error) {
	return provider.ValidateAsClient(mode, options...)
}

func validateBundle(bundle *secrets.Bundle, version *config.VersionContract) error {
	return bundle.Validate(version)
}

func bundleFromConfig(provider config.Provider) (*secrets.Bundle, error) {
	return secrets.NewBundleFromConfig(secrets.NewClock(), provider)
}
