//go:build talos113

package main

import "github.com/siderolabs/talos/pkg/machinery/config/generate"

func withKubeSpan() generate.Option {
	return generate.WithKubeSpanEnabled(true)
}
